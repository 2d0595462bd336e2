"""The bars above the list of messages, as coordinates: a template draws them as SVG attributes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from messaging.queries import messages

BINS = 90
WIDTH, HEIGHT = 1000, 100
_MARKS = 7


@dataclass(frozen=True, kw_only=True)
class Bar:
    x: str
    width: str
    other_y: str
    other_height: str
    dead_y: str
    dead_height: str
    since: str
    until: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    bars: tuple[Bar, ...]
    marks: tuple[datetime, ...]
    total: int
    dead: int
    is_capped: bool
    seconds_per_bar: float


def histogram_of(where: messages.MessageFilter, *, since: datetime, until: datetime) -> Histogram:
    """Count messages per bar between two times and lay the bars out."""
    if until - since < timedelta(seconds=1):
        until = since + timedelta(seconds=1)
    counts = messages.histogram(where, since=since, until=until, bins=BINS)
    top = max((dead + other for dead, other in counts), default=0) or 1
    step = (until - since) / BINS
    cap = None if where.is_few else messages.BIN_CAP
    return Histogram(
        bars=tuple(
            _bar(number, dead, other, top=top, cap=cap, start=since + step * number, step=step)
            for number, (dead, other) in enumerate(counts)
            if dead + other
        ),
        marks=tuple(since + (until - since) * number / (_MARKS - 1) for number in range(_MARKS)),
        total=sum(dead + other for dead, other in counts),
        dead=sum(dead for dead, _ in counts),
        is_capped=any(_is_capped(dead + other, cap) for dead, other in counts)
        or sum(dead + other for dead, other in counts) >= messages.DEAD_CAP,
        seconds_per_bar=step.total_seconds(),
    )


def _is_capped(count: int, cap: int | None) -> bool:
    return cap is not None and count >= cap


def _bar(number: int, dead: int, other: int, *, top: int, cap: int | None, start: datetime, step: timedelta) -> Bar:
    width = WIDTH / BINS
    least = "≥ " if _is_capped(other + dead, cap) else ""
    # A single message still shows: a bar is at least two units high.
    other_height = max(2.0, other / top * (HEIGHT - 4)) if other else 0.0
    dead_height = max(2.0, dead / top * (HEIGHT - 4)) if dead else 0.0
    return Bar(
        x=f"{number * width + width * 0.07:.1f}",
        width=f"{width * 0.86:.1f}",
        other_y=f"{HEIGHT - other_height:.1f}",
        other_height=f"{other_height:.1f}",
        dead_y=f"{HEIGHT - other_height - dead_height:.1f}",
        dead_height=f"{dead_height:.1f}",
        since=_stamp(start),
        until=_stamp(start + step),
        words=f"{start:%H:%M:%S} UTC: {least}{other + dead:,} messages, {dead:,} with a dead letter",
    )


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
