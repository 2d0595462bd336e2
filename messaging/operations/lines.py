"""Find the line of a JSON text at which a path stands, so that an editor can point at it."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_SPACE = re.compile(r"[ \t\r\n]*")


def line_of(text: str, path: str) -> int | None:
    """Return the 1-based line of the value at ``path`` ("items[0].sku") or of its nearest parent, if there is one."""
    if not path:
        return None
    position = 0
    try:
        for name, index in _STEP.findall(path):
            found = _item(text, position, int(index)) if index else _member(text, position, name)
            if found is None:
                break
            position = found
    except (ValueError, IndexError, RecursionError):
        return None
    position = _skip(text, position)
    return text.count("\n", 0, position) + 1


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _value_end(text: str, position: int) -> int:
    return json.JSONDecoder().raw_decode(text, _skip(text, position))[1]


def _member(text: str, position: int, name: str) -> int | None:
    position = _skip(text, position)
    if text[position] != "{":
        return None
    position += 1
    while text[position := _skip(text, position)] == '"':
        key, position = scanstring(text, position + 1, True)
        position = _skip(text, position) + 1
        if key == name:
            return _skip(text, position)
        position = _skip(text, _value_end(text, position))
        if text[position] != ",":
            return None
        position += 1
    return None


def _item(text: str, position: int, index: int) -> int | None:
    position = _skip(text, position)
    if text[position] != "[":
        return None
    position += 1
    for _ in range(index):
        position = _skip(text, _value_end(text, position))
        if text[position] != ",":
            return None
        position += 1
    return _skip(text, position)
