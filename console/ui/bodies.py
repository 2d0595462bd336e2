"""What of a body may be shown: masked unless revealed, and raw bytes that a browser never interprets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from messaging import contracts
from messaging.contracts import redaction

BYTES_PER_ROW = 16
MOST_ROWS = 512


class HasBody(Protocol):
    @property
    def type(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def body(self) -> bytes: ...


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
