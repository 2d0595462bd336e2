"""A state machine as inline SVG, with the path taken."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.ui.markup.diagram_layout import (
    LINE,
    STEP,
    STEPS_SHOWN,
    Box,
    Node,
    Route,
    Way,
    lay_out,
    steps_width,
)

__all__ = ["Node", "Way", "state_diagram"]

SHRINKS_FROM, SHRINKS_TO = 796, 868
"""Pixels: a diagram in between is drawn smaller where the panel is, its words not below 11 px; a wider one scrolls."""


def state_diagram(nodes: Sequence[Node], ways: Sequence[Way], *, label: str) -> SafeString:
    """Return the diagram. The start is the state named ""."""
    made = lay_out(nodes, ways)
    frame, start = made.frame, made.boxes[""]
    shrinks = SHRINKS_FROM < frame.width <= SHRINKS_TO
    x, y, width, height = map(_n, (frame.x, frame.y, frame.width, frame.height))
    return format_html(
        '<svg class="diagram{c}" viewBox="{x} {y} {w} {h}" width="{w}" height="{h}" role="img" aria-label="{l}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
        ' markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8Z"/></marker></defs>'
        '{p}<circle class="start" cx="{sx}" cy="{sy}" r="6"/>{b}{t}</svg>',
        c=" is-shrinking" if shrinks else "", x=x, y=y, w=width, h=height, l=label,
        sx=_n(start.x + 6), sy=_n(start.middle),
        p=format_html_join("", "{}", ((_way(route),) for route in made.routes)),
        b=format_html_join("", "{}", ((_node(node, made.boxes[node.name]),) for node in nodes if node.name)),
        t=format_html_join("", "{}", ((_label(route, route.label),) for route in made.routes if route.label)),
    )  # fmt: skip


def _node(node: Node, box: Box) -> SafeString:
    ring = Box(box.x + 3, box.y + 3, box.width - 6, box.height - 6)
    return format_html(
        '<g class="node{}{}"><title>{}</title>{}{}{}</g>',
        f" is-{node.mark}" if node.mark else "", " is-end" if node.is_final else "", node.name,
        _rect("box", box, 6), _rect("ring", ring, 4) if node.is_final else "",
        _text(box.x + box.width / 2, box.middle + 4, _short(node.name, int((box.width - 12) / 7))),
    )  # fmt: skip


def _way(route: Route) -> SafeString:
    return format_html(
        '<g class="way{}"><title>{}</title><path d="{}" marker-end="url(#tip)"/></g>',
        _kind(route), _told(route.way), route.path,
    )  # fmt: skip


def _label(route: Route, box: Box) -> SafeString:
    """Draw the discs of the steps, then the words; after all ways, so that none runs through them."""
    shown, hidden = route.way.steps[:STEPS_SHOWN], len(route.way.steps) - STEPS_SHOWN
    is_loop = route.way.before == route.way.after
    middle, y = box.x + box.width / 2, box.bottom - STEP / 2 if is_loop else box.y + STEP / 2
    first = middle - steps_width(route.way) / 2 + STEP / 2 + 1
    places = [first + (STEP + 2) * number for number in range(STEPS_SHOWN + 1)]
    discs = format_html_join("", "{}", ((_disc(x, y, step),) for x, step in zip(places, shown, strict=False)))
    more = _text(places[-1] + 6, y + 4, f"+{hidden}") if hidden > 0 else ""
    top = box.y + (STEP + 2 if shown and not is_loop else 0) + LINE - 3
    words = format_html_join("", "{}", ((_text(middle, top + LINE * n, line),) for n, line in enumerate(route.lines)))
    return format_html(
        '<g class="way{}"><title>{}</title>{}{}{}</g>', _kind(route), _told(route.way), words, discs, more
    )


def _disc(x: float, y: float, step: int) -> SafeString:
    return format_html(
        '<g class="step"><circle cx="{}" cy="{}" r="8"/>{}</g>', _n(x), _n(y), _text(x, y + 4, str(step))
    )


def _rect(name: str, box: Box, rounding: int) -> SafeString:
    x, y, width, height = map(_n, (box.x, box.y, box.width, box.height))
    return format_html(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="{}"/>', name, x, y, width, height, rounding
    )


def _text(x: float, y: float, words: str) -> SafeString:
    return format_html('<text x="{}" y="{}">{}</text>', _n(x), _n(y), words)


def _kind(route: Route) -> str:
    return " is-taken" if route.way.steps else " is-next" if route.lines else ""


def _told(way: Way) -> str:
    words = ", ".join(dict.fromkeys(way.labels)) or f"{way.before} → {way.after}"
    return f"{words}; move {', '.join(map(str, way.steps))}" if way.steps else words


def _n(length: float) -> str:
    return f"{length:.1f}".removesuffix(".0")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
