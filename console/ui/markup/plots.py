"""Charts over time as SVG: all of one panel share the axis, so that one cursor marks the same moment in each.

An interval of time is a column of equal width; a line's point stands in the middle of its column.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 1000, 100
NOTHING = SafeString("")
_EMPTY_FRACTION = re.compile(r"\.0+(?=\D|$)")
_NICE = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Key:
    """One line of a chart's legend."""

    word: str
    classes: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One plot with its labels; ``tips`` are the cursor's words, one per interval."""

    title: str
    keys: tuple[Key, ...]
    scale: tuple[str, str, str]
    plot: SafeString
    tips: str
    is_low: bool


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One series: its values per interval, its legend, and its classes in the plot."""

    word: str
    values: Values
    classes: str = ""
    key: str = ""


def nice_top(highest: float) -> float:
    """Return the least round number that is not below ``highest``; 1 for nothing at all."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next((step * power for step in _NICE if step * power >= highest * 0.9999), 10 * power)


def area(title: str, layer: Layer, *, words: Callable[[float], str], label: str) -> Chart:
    """Draw one series as a line over its area."""
    top = nice_top(_highest(layer.values))
    line = _line(layer.values, top)
    filled = format_html(
        '<path class="a {}" d="{}L{} {}L0 {}Z"/><path class="l {}" d="{}"/>',
        layer.classes,
        line,
        WIDTH,
        HEIGHT,
        HEIGHT,
        layer.classes,
        line,
    )
    return _chart(title, [layer], top, filled if line else NOTHING, words=words, label=label)


def lines(title: str, layers: Sequence[Layer], *, words: Callable[[float], str], label: str) -> Chart:
    """Draw several series as lines; a gap in the values is a gap in the line."""
    top = nice_top(max((_highest(layer.values) for layer in layers), default=0))
    paths = format_html_join(
        "", '<path class="l {}" d="{}"/>', ((layer.classes, _line(layer.values, top, edges=False)) for layer in layers)
    )
    return _chart(title, layers, top, paths, words=words, label=label, is_low=True)


def stacks(title: str, layers: Sequence[Layer], *, words: Callable[[float], str], label: str) -> Chart:
    """Draw one column per interval, the series on top of each other."""
    sums = [sum(value or 0 for value in column) for column in zip(*(layer.values for layer in layers), strict=True)]
    top, step = nice_top(max(sums, default=0)), WIDTH / max(1, len(sums))
    floor = [float(HEIGHT)] * len(sums)
    rects = []
    for layer in layers:
        for place, value in enumerate(layer.values):
            if value:
                height = max(1.0, value / top * HEIGHT)
                floor[place] -= height
                x, width = place * step + step * 0.08, step * 0.84
                rects.append((layer.classes, f"{x:.1f}", f"{floor[place]:.1f}", f"{width:.1f}", f"{height:.1f}"))
    drawn = format_html_join("", '<rect class="f {}" x="{}" y="{}" width="{}" height="{}"/>', rects)
    return _chart(title, layers, top, drawn, words=words, label=label, is_low=True)


def _chart(
    title: str,
    layers: Sequence[Layer],
    top: float,
    drawn: SafeString,
    *,
    words: Callable[[float], str],
    label: str,
    is_low: bool = False,
) -> Chart:
    grid = format_html_join(
        "",
        '<line class="g{}" x1="0" x2="{}" y1="{}" y2="{}"/>',
        ((" z" if y == HEIGHT else "", WIDTH, y, y) for y in (0, HEIGHT // 2, HEIGHT)),
    )
    return Chart(
        title=title,
        keys=tuple(Key(word=layer.word, classes=layer.key or layer.classes) for layer in layers),
        scale=(_round(words(top)), _round(words(top / 2)), "0"),
        plot=format_html(
            '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>',
            WIDTH,
            HEIGHT,
            label,
            grid,
            drawn,
        ),
        tips=json.dumps(
            [_tip(layers, column, words) for column in zip(*(layer.values for layer in layers), strict=True)]
        ),
        is_low=is_low,
    )


def _tip(layers: Sequence[Layer], column: Sequence[float | None], words: Callable[[float], str]) -> str:
    parts = [
        f"{layer.word} {'–' if value is None else words(value)}" for layer, value in zip(layers, column, strict=True)
    ]
    return " · ".join(parts)


def _round(text: str) -> str:
    """Drop a fraction that says nothing: "15.0" is "15"."""
    return _EMPTY_FRACTION.sub("", text)


def _highest(values: Values) -> float:
    return max((value for value in values if value is not None), default=0.0)


def _line(values: Values, top: float, *, edges: bool = True) -> str:
    """Return the path through the middles of the columns; ``edges`` draws it on to both ends of the axis."""
    step = WIDTH / max(1, len(values))
    path: list[str] = []
    is_open = False
    for place, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        y = f"{HEIGHT - min(1.0, value / top) * HEIGHT:.1f}"
        if not is_open:
            start = 0.0 if edges and not path else place * step
            path.append(f"M{start:.1f} {y}")
        path.append(f"L{(place + 0.5) * step:.1f} {y}")
        is_open = True
        if place + 1 == len(values) or values[place + 1] is None:
            path.append(f"L{(place + 1) * step:.1f} {y}")
    return "".join(path)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The shared axis: its labels, and the start of each interval for the cursor."""

    labels: tuple[datetime, ...]
    starts: str
    ends_at: datetime


def axis(starts: Sequence[datetime], step: timedelta, *, labels: int = 6) -> Axis:
    """Label the axis from the first interval's start to the last one's end."""
    first, last = starts[0], starts[-1] + step
    return Axis(
        labels=tuple(first + (last - first) * place / (labels - 1) for place in range(labels)),
        starts=json.dumps([start.isoformat().replace("+00:00", "Z") for start in starts]),
        ends_at=last,
    )
