"""Strict readers of environment variables: a wrong value stops the start and names its remedy."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_S3_OPTIONS = {"endpoint_url", "region_name", "addressing_style", "signature_version"}
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    return switch(name, text(name), default=default)


def switch(name: str, given: str, *, default: bool) -> bool:
    value = given.lower()
    if not value:
        return default
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is not a switch; use 1 or 0.")


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = text(name, default).lower()
    if value in choices:
        return value
    raise ImproperlyConfigured(f"{name}={value!r} is none of {', '.join(choices)}.")


def integer(name: str, default: int, *, minimum: int = 0) -> int:
    value = text(name)
    if not value:
        return default
    if not value.isdecimal() or int(value) < minimum:
        raise ImproperlyConfigured(f"{name}={value!r} is not a whole number of at least {minimum}.")
    return int(value)


def number(name: str, default: float, *, minimum: float = 0.0) -> float:
    value = text(name)
    if not value:
        return default
    try:
        result = float(value)
    except ValueError:
        result = float("nan")
    if not result >= minimum:
        raise ImproperlyConfigured(f"{name}={value!r} is not a number of at least {minimum}.")
    return result


def body_storage(name: str, default: str) -> dict[str, dict[str, Any]]:
    """Read where large bodies lie: a directory, or s3://bucket/prefix?endpoint_url=...; nothing without a value."""
    value = text(name, default)
    if not value:
        return {}
    parts = urlsplit(value)
    if parts.scheme == "s3" and parts.netloc:
        given = {key: value for key, value in parse_qsl(parts.query) if key in _S3_OPTIONS}
        bucket = {"bucket_name": parts.netloc, "location": parts.path.strip("/"), "file_overwrite": False, **given}
        return {"signalbox": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": bucket}}
    if parts.scheme or not value.startswith("/"):
        raise ImproperlyConfigured(f"{name}={value!r} is neither an absolute directory nor s3://bucket/prefix.")
    return {"signalbox": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": value}}}


def share(name: str, default: float) -> float:
    result = number(name, default)
    if result > 1:
        raise ImproperlyConfigured(f"{name}={text(name)!r} is not a share; use 0 to 1.")
    return result


def words(name: str) -> list[str]:
    return [word.strip() for word in text(name).split(",") if word.strip()]


def secret_key(home: Path, *, embedded: bool) -> str:
    """Return SECRET_KEY; embedded, one is generated into the data directory once."""
    if given := text("SECRET_KEY"):
        return given
    if not embedded:
        raise ImproperlyConfigured("SECRET_KEY is not set. Set it to a long random value, the same for every process.")
    path = home / "secret_key"
    if not path.exists():
        try:
            home.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"secret_key.{os.getpid()}")
            draft.touch(mode=0o600)
        except OSError as error:
            raise ImproperlyConfigured(
                f"SIGNALBOX_HOME={str(home)!r} cannot be a data directory: {error.strerror}. Set it to one to write in."
            ) from error
        draft.write_text(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)  # two first starts at once: the first link wins, both read the same key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


WITHOUT_COMPILING = "-c jit=off"
"""PostgreSQL compiles what it takes for dear: a page's statements over partitions took seconds then, not 20 ms."""

AS_FROM_MEMORY = "-c random_page_cost=1.1"
PLANNING = {
    "relay": f"{AS_FROM_MEMORY} -c enable_seqscan=off",
    "worker": AS_FROM_MEMORY,
    "scheduler": AS_FROM_MEMORY,
}
"""For tables that are hot and indexed, now empty and now large: PostgreSQL rather reads them whole (decision 0058)."""


def database(url: str) -> dict[str, object]:
    """Return a Django database entry for a ``postgresql://`` or ``sqlite:///`` URL.

    Query parameters become connection options; a unix socket directory is given as ``?host=/path``.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path[1:]) if parts.path.startswith("//") else unquote(parts.path),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                " PRAGMA cache_size=-32000;",
            },
        }
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL begins with {parts.scheme!r}; use postgresql://user:password@host:port/name."
        )
    options: dict[str, object] = dict(parse_qsl(parts.query))
    role = text("SIGNALBOX_ROLE")
    # A worker repeats few statements, those of its handlers; a page's are planned for what it asks for (decision 0056).
    is_bound_by_server = switch(
        "server_side_binding", str(options.pop("server_side_binding", "")), default=role == "worker"
    )
    host = str(options.pop("host", "") or parts.hostname or "")
    said = f"{WITHOUT_COMPILING} {PLANNING.get(role, '')}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": None if role else 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "prepare_threshold": 5,
            "server_side_binding": is_bound_by_server,
            **options,
            "options": f"{said} {options.get('options', '')}".strip(),
        },
    }
