"""JSON whose numbers come out as they went in: 149.80 stays 149.80, and 0.1234567890123456789 keeps every digit."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any


class ExactFloat(float):
    """A JSON number with a fraction or an exponent, and the text it was written as."""

    literal: str

    def __new__(cls, literal: str) -> ExactFloat:
        number = super().__new__(cls, literal)
        number.literal = literal
        return number


def loads(body: bytes) -> Any:
    """Decode stored JSON, keeping each number's text.

    Raises:
        ValueError: it is not JSON, or not UTF-8.
    """
    return json.loads(body, parse_float=ExactFloat)


def dumps(data: Any) -> bytes:
    """Encode JSON compactly; an ExactFloat is written as its text."""
    mark = secrets.token_hex(8)  # nothing in the data can look like it
    text = json.dumps(_marked(data, mark), ensure_ascii=False, separators=(",", ":"))
    return re.sub(rf'"{mark}([^"]*)"', r"\1", text).encode()


def _marked(data: Any, mark: str) -> Any:
    if isinstance(data, ExactFloat):
        return mark + data.literal
    if isinstance(data, dict):
        return {key: _marked(value, mark) for key, value in data.items()}
    if isinstance(data, list):
        return [_marked(value, mark) for value in data]
    return data
