"""API tokens: created, checked, revoked. The text is ``sb_<prefix>_<secret>``."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, get_args

from django.db import IntegrityError, transaction
from django.db.models import Q

from console.models import ApiToken
from messaging import clock
from messaging.actors import Permission
from messaging.errors import OperationRefused
from messaging.operations import OPERATE, PUBLISH, REVEAL, TRACE, VIEW, Actor

Scope = Literal["read", "publish", "operate", "reveal", "trace"]
SCOPES: tuple[str, ...] = get_args(Scope)
PERMISSION_OF_SCOPE: dict[str, Permission] = {
    "read": VIEW, "publish": PUBLISH, "operate": OPERATE, "reveal": REVEAL, "trace": TRACE,
}  # fmt: skip

_SHAPE = re.compile(r"sb_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}")
_USE_RESOLUTION = timedelta(minutes=1)
_ABSENT_DIGEST = "0" * 64


def create(*, name: str, scopes: Iterable[str], expires_at: datetime | None = None) -> tuple[ApiToken, str]:
    """Create a token; return it with its text, which cannot be had again.

    Raises:
        OperationRefused: "invalid" with ``field`` "name" or "scopes"; "conflict" when the name is in use.
    """
    wanted = sorted(set(scopes), key=lambda scope: SCOPES.index(scope) if scope in SCOPES else -1)
    if not wanted or wanted[0] not in SCOPES:
        raise OperationRefused(f"Scopes are one or more of {', '.join(SCOPES)}.", code="invalid", field="scopes")
    if not _NAME.fullmatch(name):
        raise OperationRefused(
            "A name has 1 to 100 letters, digits, spaces or . _ @ -, and begins with a letter or digit.",
            code="invalid",
            field="name",
        )
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    token = ApiToken(
        prefix=prefix,
        digest=_digest(secret),
        name=name,
        scopes=wanted,
        created_at=clock.now(),
        expires_at=expires_at,
    )
    try:
        with transaction.atomic():
            token.save(force_insert=True)
    except IntegrityError as error:
        raise OperationRefused(f"A token named {name!r} is in use; revoke it first.", field="name") from error
    return token, f"sb_{prefix}_{secret}"


def authenticate(text: str) -> ApiToken | None:
    """Return the token of this text if it is valid now, and note its use."""
    match = _SHAPE.fullmatch(text)
    token = ApiToken.objects.filter(prefix=match[1]).first() if match else None
    # An unknown prefix takes the same comparison as a wrong secret, so that time tells nothing.
    is_right = hmac.compare_digest(_digest(match[2] if match else text), token.digest if token else _ABSENT_DIGEST)
    now = clock.now()
    if token is None or not is_right or not is_valid(token, now):
        return None
    _note_use(token, now)
    return token


def is_valid(token: ApiToken, now: datetime) -> bool:
    return token.revoked_at is None and (token.expires_at is None or now < token.expires_at)


def revoke(name_or_prefix: str) -> ApiToken | None:
    """Revoke the token in use of this name or prefix; None if there is none."""
    in_use = ApiToken.objects.filter(Q(name=name_or_prefix) | Q(prefix=name_or_prefix), revoked_at=None)
    token = in_use.first()
    if token is None:
        return None
    token.revoked_at = clock.now()
    token.save(update_fields=["revoked_at"])
    return token


def actor_of(token: ApiToken, *, address: str) -> Actor:
    """Return who acts with this token, as operations and the audit know it."""
    permissions = frozenset(PERMISSION_OF_SCOPE[scope] for scope in token.scopes if scope in PERMISSION_OF_SCOPE)
    return Actor(name=token.name, kind="token", permissions=permissions, address=address[:64])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _note_use(token: ApiToken, now: datetime) -> None:
    stale = now - _USE_RESOLUTION
    if token.last_used_at is not None and token.last_used_at > stale:
        return
    # Many requests at once see the same old time: the first one writes, the others find nothing to update.
    ApiToken.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=stale), prefix=token.prefix).update(
        last_used_at=now
    )
