"""A message's body as numbered lines: exact numbers, masked fields, safe whatever the bytes are."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from console.ui.markup.icons import icon
from console.ui.markup.text import shorten, visible
from messaging.contracts import redaction

EMPTY = SafeString("")

DEEPEST = 60
MOST_LINES = 2_000


class Lexeme(str):
    """A number as it was written; a float or a JavaScript number would change it."""

    __slots__ = ()


@dataclass(frozen=True)
class Pairs:
    """An object's members in order, duplicates included."""

    members: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Line:
    path: str
    html: SafeString


class TooDeep(ValueError):
    """The body nests deeper than a page can show."""


def _quoted(text: str) -> str:
    return visible(shorten(json.dumps(text, ensure_ascii=False)))


def _mark(text: str) -> SafeString:
    return format_html('<span class="p">{}</span>', text)


def parse(text: str) -> Any:
    """Parse JSON without losing a digit or a duplicate key. Raises ValueError, RecursionError."""
    return json.loads(
        text,
        parse_int=Lexeme,
        parse_float=Lexeme,
        parse_constant=Lexeme,
        object_pairs_hook=lambda pairs: Pairs(tuple(pairs)),
    )


def _scalar(value: Any) -> SafeString:
    if isinstance(value, Lexeme):
        return format_html('<span class="v">{}</span>', shorten(value))
    if isinstance(value, str):
        return format_html('<span class="v">{}</span>', _quoted(value))
    return format_html('<span class="v">{}</span>', {True: "true", False: "false", None: "null"}[value])


def _masked(value: Any) -> SafeString | None:
    """Return the placeholder of a masked value: it tells the kind and size of what it hides, nothing else."""
    if not isinstance(value, Pairs) or len(value.members) != 1 or value.members[0][0] != redaction.MARK:
        return None
    return format_html('<span class="masked">{}{}</span>', icon("lock"), visible(shorten(str(value.members[0][1]), 80)))


def lines(value: Any, path: str = "", label: SafeString = EMPTY, comma: str = "", depth: int = 0) -> Iterator[Line]:
    """Yield the lines of a parsed body. Raises TooDeep."""
    if depth > DEEPEST:
        raise TooDeep
    indent, end = "  " * depth, _mark(comma) if comma else EMPTY
    members = value.members if isinstance(value, Pairs) else value if isinstance(value, list) else ()
    hidden = _masked(value)
    if hidden or not members:
        empty = "{}" if isinstance(value, Pairs) else "[]" if isinstance(value, list) else ""
        shown = hidden or (_mark(empty) if empty else _scalar(value))
        yield Line(path, format_html("{}{}{}{}", indent, label, shown, end))
        return
    opening, closing = ("{", "}") if isinstance(value, Pairs) else ("[", "]")
    yield Line(path, format_html("{}{}{}", indent, label, _mark(opening)))
    last = len(members) - 1
    for at, member in enumerate(members):
        follows = "," if at < last else ""
        if isinstance(value, Pairs):
            name, child = member
            key = format_html('<span class="key-name">{}</span>{} ', _quoted(name), _mark(":"))
            yield from lines(child, f"{path}.{name}".lstrip("."), key, follows, depth + 1)
        else:
            yield from lines(member, f"{path}[{at}]", EMPTY, follows, depth + 1)
    yield Line("", format_html("{}{}{}", indent, _mark(closing), end))


def decode(body: bytes | str) -> str:
    return body if isinstance(body, str) else bytes(body).decode("utf-8", "backslashreplace")


def plain_lines(text: str) -> list[Line]:
    rows = text.split("\n", MOST_LINES + 1)[: MOST_LINES + 1]
    return [Line("", format_html('<span class="v">{}</span>', visible(shorten(row)))) for row in rows]


def body_lines(body: bytes | str) -> list[Line]:
    """Return the lines of a body: formatted when it is JSON of sane depth, else as the text it is."""
    text = decode(body)
    try:
        # One line more than is shown tells that there are more.
        return list(islice(lines(parse(text)), MOST_LINES + 1))
    except (ValueError, RecursionError):
        return plain_lines(text)


def render(body: bytes | str, *, hot: Collection[object] = ()) -> SafeString:
    """Return the numbered list; ``hot`` names lines to mark as wrong, by number or by path ("items[0].price")."""
    rows = body_lines(body)
    more = len(rows) > MOST_LINES
    rows = rows[:MOST_LINES]
    marked = {str(item) for item in hot if item not in (None, "")}
    seen: set[str] = set()
    parts = []
    for at, line in enumerate(rows, start=1):
        is_hot = str(at) in marked or (bool(line.path) and line.path in marked and line.path not in seen)
        seen.add(line.path)
        parts.append((at, mark_safe(' class="is-hot"') if is_hot else "", line.html))
    items = format_html_join("", '<li data-n="{}"{}><span>{}</span></li>', parts)
    note = format_html('<li class="is-note"><span>… cut after {} lines</span></li>', f"{MOST_LINES:,}") if more else ""
    return format_html('<div class="code" tabindex="0"><ol>{}{}</ol></div>', items, note)
