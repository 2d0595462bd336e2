"""JSON as text for an editor: formatted without changing a number, and two versions side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.ui.markup.json_view import DEEPEST, Lexeme, Pairs, TooDeep, decode, parse
from console.ui.markup.text import visible
from messaging.contracts import redaction

_KEY = re.compile(r'^(\s*)("(?:[^"\\]|\\.)*")(\s*:)')
_BOUNDS = ' "[]{},:'
MOST_LINES = 3_000


def formatted(body: bytes | str) -> str:
    """Return JSON with two spaces of indent, digits as they were written; other text as it is."""
    text = decode(body)
    try:
        return _write(parse(text), 0)
    except (ValueError, RecursionError):
        return text


def _write(value: Any, depth: int) -> str:
    if depth > DEEPEST:
        raise TooDeep
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, Lexeme):
        return str(value)
    if isinstance(value, Pairs):
        if len(value.members) == 1 and value.members[0][0] == redaction.MARK:
            return f"{{{_text(redaction.MARK)}: {_write(value.members[0][1], 0)}}}"
        members = [f"{inner}{_text(name)}: {_write(child, depth + 1)}" for name, child in value.members]
        return "{\n" + ",\n".join(members) + f"\n{outer}}}" if members else "{}"
    if isinstance(value, list):
        items = [f"{inner}{_write(child, depth + 1)}" for child in value]
        return "[\n" + ",\n".join(items) + f"\n{outer}]" if items else "[]"
    return _text(value)


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # A lone surrogate cannot be sent to a browser; its escape can.
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One line of one side of a difference; ``kind`` is old, new, gone (no such line here) or empty."""

    number: int | None
    html: SafeString
    kind: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    left: tuple[Side, ...]
    right: tuple[Side, ...]
    changed: int
    added: int
    removed: int

    @property
    def is_same(self) -> bool:
        return not (self.changed or self.added or self.removed)

    @property
    def words(self) -> str:
        lines = "1 line" if self.changed == 1 else f"{self.changed} lines"
        return f"{lines} changed, {self.added} added, {self.removed} removed"


def difference(original: str, edited: str) -> Difference:
    """Lay two texts side by side, line against line."""
    old, new = original.splitlines()[:MOST_LINES], edited.splitlines()[:MOST_LINES]
    left: list[Side] = []
    right: list[Side] = []
    changed = added = removed = 0
    for first, second in _pairs(old, new):
        is_change = first is not None and second is not None and old[first] != new[second]
        changed += is_change
        removed += second is None
        added += first is None
        marked = _marked(old[first], new[second]) if is_change and first is not None and second is not None else None
        left.append(_side(old, first, "old" if is_change or second is None else "", marked and marked[0]))
        right.append(_side(new, second, "new" if is_change or first is None else "", marked and marked[1]))
    return Difference(left=tuple(left), right=tuple(right), changed=changed, added=added, removed=removed)


def _pairs(old: list[str], new: list[str]) -> Iterator[tuple[int | None, int | None]]:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for _, from_old, to_old, from_new, to_new in matcher.get_opcodes():
        for step in range(max(to_old - from_old, to_new - from_new)):
            first, second = from_old + step, from_new + step
            yield (first if first < to_old else None, second if second < to_new else None)


def _side(lines: list[str], at: int | None, kind: str, marked: SafeString | None) -> Side:
    if at is None:
        return Side(number=None, html=SafeString(""), kind="gone")
    return Side(number=at + 1, html=marked or _coloured(lines[at]), kind=kind)


def _coloured(line: str) -> SafeString:
    found = _KEY.match(line)
    if not found:
        return format_html("{}", visible(line))
    rest = line[found.end() :]
    return format_html('{}<span class="key-name">{}</span>{}{}', found[1], visible(found[2]), found[3], visible(rest))


def _marked(old: str, new: str) -> tuple[SafeString, SafeString]:
    """Mark what differs between two lines: everything between their common beginning and end."""
    shortest = min(len(old), len(new))
    start = next((at for at in range(shortest) if old[at] != new[at]), shortest)
    end = next((at for at in range(shortest - start) if old[-1 - at] != new[-1 - at]), shortest - start)
    # Whole words read better than single letters.
    while start and old[start - 1] not in _BOUNDS:
        start -= 1
    while end and old[-end] not in _BOUNDS:
        end -= 1
    return _in_line(old, start, end, "<del>", "</del>"), _in_line(new, start, end, "<ins>", "</ins>")


def _in_line(line: str, start: int, end: int, opening: str, closing: str) -> SafeString:
    stop = len(line) - end
    return format_html(
        "{}{}{}{}{}",
        visible(line[:start]),
        SafeString(opening),
        visible(line[start:stop]),
        SafeString(closing),
        visible(line[stop:]),
    )
