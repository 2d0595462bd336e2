"""A state machine as inline SVG: laid out here, in columns by distance from the start, with the path taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT, COLUMN, ROW, MARGIN = 136, 40, 234, 108, 28
LABEL_LENGTH = 24


@dataclass(frozen=True, kw_only=True)
class Node:
    """A state. ``mark`` is "now" for the current one, "been" for one on the path, or ""."""

    name: str
    mark: str = ""
    is_final: bool = False


@dataclass(kw_only=True)
class Way:
    """All that leads from one state to another; ``steps`` are the numbers of the transitions that took it."""

    before: str
    after: str
    labels: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def state_diagram(nodes: Sequence[Node], ways: Sequence[Way], *, label: str) -> SafeString:
    """Return the diagram. The start is the state named ""."""
    places = _places([node.name for node in nodes], ways)
    width = max(x for x, _ in places.values()) + WIDTH + MARGIN
    height = max(y for _, y in places.values()) + HEIGHT + 58
    drawn = format_html_join("", "{}", ((_way(way, places),) for way in ways))
    boxes = format_html_join("", "{}", ((_node(node, places[node.name]),) for node in nodes if node.name))
    x, y = places[""]
    start = format_html('<circle class="start" cx="{}" cy="{}" r="6"/>', x + WIDTH - 8, y + HEIGHT / 2)
    return format_html(
        '<svg class="diagram" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{l}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8Z"/></marker></defs>{s}{d}{b}</svg>',
        w=width, h=height, l=label, s=start, d=drawn, b=boxes,
    )  # fmt: skip


def _places(names: Sequence[str], ways: Iterable[Way]) -> dict[str, tuple[int, int]]:
    """Put each state into the column of its distance from the start; the start's column is narrow."""
    distance, ring = {"": 0}, [""]
    ways = list(ways)
    while ring:
        ring = [way.after for way in ways if way.before in ring and way.after not in distance]
        for name in ring:
            distance.setdefault(name, 1 + _nearest(name, ways, distance))
    columns: dict[int, list[str]] = {}
    for name in dict.fromkeys(["", *names]):
        columns.setdefault(distance.get(name, 1), []).append(name)
    tallest = max(len(column) for column in columns.values())
    return {
        name: (
            MARGIN + number * COLUMN - WIDTH + 24,
            46 + int((tallest - len(column)) * ROW / 2) + row * ROW,
        )
        for number, column in columns.items()
        for row, name in enumerate(column)
    }


def _nearest(name: str, ways: Iterable[Way], distance: dict[str, int]) -> int:
    return min(distance[way.before] for way in ways if way.after == name and way.before in distance)


def _node(node: Node, place: tuple[int, int]) -> SafeString:
    x, y = place
    ring = ""
    if node.is_final:
        ring = format_html(
            '<rect class="ring" x="{}" y="{}" width="{}" height="{}" rx="9"/>', x - 4, y - 4, WIDTH + 8, HEIGHT + 8
        )
    return format_html(
        '<g class="node {}"><title>{}</title>{}<rect x="{}" y="{}" width="{}" height="{}" rx="6"/>'
        '<text x="{}" y="{}">{}</text></g>',
        f"is-{node.mark}" if node.mark else "", node.name, ring, x, y, WIDTH, HEIGHT, x + WIDTH / 2, y + HEIGHT / 2 + 4,
        _short(node.name, 19),
    )  # fmt: skip


def _way(way: Way, places: dict[str, tuple[int, int]]) -> SafeString:
    (ax, ay), (bx, by) = places[way.before], places[way.after]
    middle = HEIGHT / 2
    from_x: float
    from_y: float
    to_x: float
    to_y: float
    x: float
    y: float
    if way.before == way.after:
        left, right = ax + WIDTH / 2 - 22, ax + WIDTH / 2 + 22
        path = f"M{left} {ay}C{left} {ay - 30} {right} {ay - 30} {right} {ay - 1}"
        x, y = ax + WIDTH / 2, ay - 28.0
    elif bx > ax:
        from_x, from_y, to_x, to_y = ax + WIDTH, ay + middle, bx - 1, by + middle
        bend = min(60, (to_x - from_x) / 2)
        path = f"M{from_x} {from_y}C{from_x + bend} {from_y} {to_x - bend} {to_y} {to_x} {to_y}"
        x, y = (from_x + to_x) / 2, (from_y + to_y) / 2 - 6
    else:
        from_x, from_y, to_x, to_y = ax + WIDTH / 2 + 10, ay + HEIGHT, bx + WIDTH / 2 + 10, by + HEIGHT + 1
        if bx == ax:
            to_y = by - 1 if by > ay else by + HEIGHT + 1
            from_y = ay + HEIGHT if by > ay else ay
            path = f"M{from_x} {from_y}L{to_x} {to_y}"
        else:
            low = max(ay, by) + HEIGHT + 34
            path = f"M{from_x} {from_y}C{from_x} {low} {to_x} {low} {to_x} {to_y}"
        x, y = (from_x + to_x) / 2, max(from_y, to_y) + 22 if bx != ax else (from_y + to_y) / 2
    words = ", ".join(dict.fromkeys(way.labels))
    down = y + 16 if bx > ax else y
    first = x - 9 * (min(len(way.steps), 4) - 1)
    steps = format_html_join(
        "", '<g class="step"><circle cx="{}" cy="{}" r="8"/><text x="{}" y="{}">{}</text></g>',
        ((first + 18 * n, down, first + 18 * n, down + 4, step) for n, step in enumerate(way.steps[:4])),
    )  # fmt: skip
    return format_html(
        '<g class="way {}"><title>{}</title><path d="{}" marker-end="url(#tip)"/><text x="{}" y="{}">{}</text>{}</g>',
        "is-taken" if way.steps else "", words, path, x, y - (12 if way.before == way.after and way.steps else 0),
        _short(words, LABEL_LENGTH), steps,
    )  # fmt: skip


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
