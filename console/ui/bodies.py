"""What of a body may be shown: masked unless revealed, and raw bytes that a browser never interprets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.http import HttpResponse

from messaging import contracts
from messaging.contracts import redaction
from messaging.errors import BodyUnavailable, StorageUnavailable

BYTES_PER_ROW = 16
MOST_ROWS = 512


SHOWN_BYTES = 65_536
"""Of a larger body a page shows so much; the whole is a download."""


class HasBody(Protocol):
    @property
    def type(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def body(self) -> bytes: ...

    @property
    def blob(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True, kw_only=True)
class ShownBody:
    """A body as a page shows it: whole, or the beginning of a large one, or why it cannot be had."""

    body: bytes = b""
    size: int = 0
    """Of the whole, in bytes, as published."""
    beginning: str = ""
    problem: str = ""
    is_masked: bool = False


def shown_body(detail: HasBody, *, is_revealed: bool = False) -> ShownBody:
    """Return a body for a page, masked unless revealed."""
    try:
        body = visible_body(detail, is_revealed=is_revealed)
    except (BodyUnavailable, StorageUnavailable) as error:
        return ShownBody(problem=str(error), size=int((detail.blob or {}).get("bytes", 0)))
    is_cut = len(body) > SHOWN_BYTES
    return ShownBody(
        body=b"" if is_cut else body,
        size=len(detail.body),
        beginning=body[:SHOWN_BYTES].decode("utf-8", "replace") if is_cut else "",
        is_masked=body != detail.body,
    )


def download(detail: HasBody, name: str) -> HttpResponse:
    """Answer with a body as a file that no browser interprets, sensitive fields masked."""
    try:
        body = visible_body(detail)
    except (BodyUnavailable, StorageUnavailable) as error:
        status = 410 if isinstance(error, BodyUnavailable) else 503
        return HttpResponse(f"{error}\n", status=status, content_type="text/plain; charset=utf-8")
    return HttpResponse(
        body,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"', "X-Content-Type-Options": "nosniff"},
    )


def visible_body(detail: HasBody, *, is_revealed: bool = False) -> bytes:
    """Return the body with sensitive fields masked; as stored when it is revealed."""
    masked = contracts.mask(detail.type, detail.version, detail.body)
    # Masking writes the JSON anew; without anything to hide the bytes stay as they were received, digit by digit.
    return detail.body if is_revealed or redaction.MARK.encode() not in masked else masked


def is_masked(detail: HasBody) -> bool:
    """Return whether something of this body is hidden by default."""
    return visible_body(detail) != detail.body


SENSITIVE_HEADERS = redaction.SENSITIVE_HEADERS


@dataclass(frozen=True)
class ShownHeader:
    name: str
    value: object
    hidden: str
    """What is hidden in its place ("42 characters"), empty when the value is shown."""


def visible_headers(headers: Mapping[str, object], *, is_revealed: bool = False) -> list[ShownHeader]:
    """Return the headers by name, credentials hidden unless revealed."""
    result = []
    for name, value in sorted(headers.items()):
        is_hidden = name.lower() in SENSITIVE_HEADERS and not is_revealed
        size = f"{len(str(value)):,} characters"
        result.append(ShownHeader(name, "" if is_hidden else value, size if is_hidden else ""))
    return result


@dataclass(frozen=True)
class HexRow:
    offset: str
    octets: str
    text: str


def hex_rows(raw: bytes) -> Iterator[HexRow]:
    """Yield the first rows of a hex view; what is not printable ASCII becomes a dot."""
    for start in range(0, min(len(raw), BYTES_PER_ROW * MOST_ROWS), BYTES_PER_ROW):
        part = raw[start : start + BYTES_PER_ROW]
        text = "".join(chr(octet) if 32 <= octet < 127 else "·" for octet in part)
        yield HexRow(f"{start:08x}", part.hex(" ").ljust(BYTES_PER_ROW * 3 - 1), text)
