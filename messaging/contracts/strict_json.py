"""JSON that can be stored, shown and read back everywhere: everything else is refused with the place named."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from messaging.contracts.exact import ExactFloat
from messaging.errors import Undecodable

MAX_DEPTH = 64
MAX_DIGITS = 1000
_SHOWN_KEY = 80
_SHOWN_PATH = 300

# A string that never ends is one match up to the end: else every escaped quote in it would start a scan of its own.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,79}")


@dataclass(frozen=True)
class _Refused:
    """Stands in the decoded tree where something was refused, so that its path can be told."""

    why: str
    key: str | None = None


def loads(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Decode JSON from UTF-8 bytes; big integers stay exact, and other numbers keep their text (ExactFloat).

    Raises:
        Undecodable: not UTF-8, not JSON, nested too deep, or holding what some reader of it would lose: duplicate keys,
            NaN, Infinity, numbers out of range, NUL, lone surrogates. ``field`` is the path where one is known.
    """
    text = _decode(raw)
    _check_depth(text, max_depth)
    refusals: list[_Refused] = []
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, refusals),
            parse_float=lambda literal: _float(literal, refusals),
            parse_int=lambda literal: _integer(literal, refusals),
            parse_constant=lambda literal: _refuse(
                f"{literal} is not a JSON number; leave it out or use null", refusals
            ),
        )
    except json.JSONDecodeError as error:
        raise Undecodable(f"Not JSON at line {error.lineno}, column {error.colno}: {error.msg}.") from error
    if refusals or _SUSPICIOUS.search(text):
        _check_values(value)
    return value


def path_of(parent: str, step: str | int) -> str:
    """Return the path of a member ("items" and 0 make "items[0]"), safe to print whatever the key holds."""
    if isinstance(step, int):
        return f"{parent}[{step}]"
    if _PLAIN_KEY.fullmatch(step):
        return f"{parent}.{step}" if parent else step
    shown = step if len(step) <= _SHOWN_KEY else step[:_SHOWN_KEY] + "…"
    return f"{parent}[{json.dumps(shown)}]"


def _decode(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Undecodable("The text begins with a byte order mark; send plain UTF-8 without it.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Undecodable(f"Not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}.") from error
    if not text.strip():
        raise Undecodable("The body is empty; send a JSON object.")
    return text


def _check_depth(text: str, max_depth: int) -> None:
    """Refuse deep nesting before the decoder recurses into it."""
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > max_depth:
                raise Undecodable(f"Nested deeper than {max_depth} levels at character {token.start() + 1}.")
        elif first != '"':
            depth -= 1


def _refuse(why: str, refusals: list[_Refused], key: str | None = None) -> _Refused:
    refused = _Refused(why, key)
    refusals.append(refused)
    return refused


def _object(pairs: list[tuple[str, Any]], refusals: list[_Refused]) -> dict[str, Any] | _Refused:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    counts = Counter(key for key, _ in pairs)
    twice = next(key for key, count in counts.items() if count > 1)
    return _refuse("the key appears more than once", refusals, twice)


def _float(literal: str, refusals: list[_Refused]) -> float | _Refused:
    value = ExactFloat(literal)
    return value if math.isfinite(value) else _refuse("the number is too large; the limit is about 1.8e308", refusals)


def _integer(literal: str, refusals: list[_Refused]) -> int | _Refused:
    if len(literal) - literal.startswith("-") > MAX_DIGITS:
        return _refuse(f"the integer has more than {MAX_DIGITS} digits; send it as a string", refusals)
    return int(literal)


def _check_values(root: Any) -> None:
    for path, value in _walk(root):
        if isinstance(value, _Refused):
            where = path if value.key is None else path_of(path, value.key)
            raise _at(where, value.why)
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, dict):
            for key in value:
                _check_text(key, path_of(path, key))


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every value with its path, in document order, without recursion."""
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        yield path, value
        if isinstance(value, dict):
            stack.extend((path_of(path, key), member) for key, member in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend((path_of(path, index), value[index]) for index in range(len(value) - 1, -1, -1))


def _check_text(text: str, path: str) -> None:
    if "\x00" in text:
        raise _at(path, "contains the character NUL (\\u0000), which cannot be stored; remove it")
    if _SURROGATE.search(text):
        raise _at(path, "contains half of a surrogate pair (\\ud800 to \\udfff alone); send the whole character")


def _at(path: str, why: str) -> Undecodable:
    if len(path) > _SHOWN_PATH:
        path = path[: _SHOWN_PATH - 1] + "…"
    return Undecodable(f"{path}: {why}." if path else f"{why[0].upper()}{why[1:]}.", field=path)
