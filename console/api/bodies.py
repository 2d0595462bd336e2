"""Request bodies: type, encoding and size are checked before anything reads them."""

from __future__ import annotations

import zlib
from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser

from console.api.problems import Problem, too_large
from messaging.contracts import strict_json
from messaging.errors import Undecodable
from messaging.settings import options

JSON = "application/json"
CLOUD_EVENT = "application/cloudevents+json"
_GZIP = 16 + zlib.MAX_WBITS
_MOST_MEMBERS = 16


class StrictParser(Parser):
    """django-ninja's way in for bodies, through the strict JSON reader."""

    def parse_body(self, request: HttpRequest) -> Any:
        value = strict_json.loads(request.body)
        if value is not None and not isinstance(value, dict):
            raise Undecodable("The body is not a JSON object.")
        return value


def prepare(request: HttpRequest, *, accepts: tuple[str, ...], limit: int | None = None) -> None:
    """Read the body into ``request.body``, decompressed and within the limit.

    Raises:
        Problem: 413 too large, 415 type or encoding unknown, 400 damaged compression.
    """
    limit = limit or options().max_body_bytes
    raw = _read(request, limit)
    if raw:
        _check_type(request, accepts)
        if _encoding(request) == "gzip":
            raw = _gunzip(raw, limit)
    request._body = raw  # noqa: SLF001  what request.body returns from now on


def _read(request: HttpRequest, limit: int) -> bytes:
    if request.headers.get("Content-Length", "").isdecimal() and int(request.headers["Content-Length"]) > limit:
        raise too_large(limit)
    # Not request.body: it trusts the Content-Length, which a chunked request does not have.
    raw = request.read(limit + 1)
    if len(raw) > limit:
        raise too_large(limit)
    return raw


def _check_type(request: HttpRequest, accepts: tuple[str, ...]) -> None:
    wanted = " or ".join(accepts)
    if request.content_type not in accepts:
        given = (request.content_type or "nothing")[:100]
        raise Problem(
            415,
            "unsupported_media_type",
            f"The Content-Type is {given}; send {wanted}.",
            errors=[("Content-Type", f"Send {wanted}.")],
            headers={"Accept": ", ".join(accepts)},
        )
    charset = (request.content_params or {}).get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise Problem(
            415,
            "unsupported_media_type",
            "JSON is sent as UTF-8; leave charset out.",
            errors=[("Content-Type", "Leave charset out or say utf-8.")],
        )


def _encoding(request: HttpRequest) -> str:
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return ""
    if encoding in {"gzip", "x-gzip"}:
        return "gzip"
    raise Problem(
        415,
        "unsupported_encoding",
        "The Content-Encoding is unknown; send gzip or none.",
        errors=[("Content-Encoding", "Send gzip or none.")],
        headers={"Accept-Encoding": "gzip"},
    )


def _gunzip(raw: bytes, limit: int) -> bytes:
    """Decompress, stopping one byte past the limit: a bomb never unfolds."""
    parts: list[bytes] = []
    size = 0
    for _ in range(_MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(raw, limit + 1 - size)
        except zlib.error as error:
            raise _damaged() from error
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if not member.eof:
            raise _damaged()
        parts.append(part)
        raw = member.unused_data
        if not raw:
            return b"".join(parts)
    raise _damaged()


def _damaged() -> Problem:
    return Problem(
        400,
        "undecodable",
        "The Content-Encoding says gzip, but the body is not whole gzip data.",
        errors=[("Content-Encoding", "The body is not whole gzip data.")],
    )
