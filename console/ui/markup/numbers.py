"""Numbers and times in words, the same ones static/js/time.js keeps fresh."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from django.utils.html import format_html
from django.utils.safestring import SafeString

EMPTY = "–"


class Capped(Protocol):
    @property
    def value(self) -> int: ...

    @property
    def is_capped(self) -> bool: ...


def number(value: float | None, decimals: int | None = None) -> str:
    """Write a number with thousands separators; an integer of any size stays exact."""
    if value is None:
        return EMPTY
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:,}" if isinstance(value, int) or value != int(value) else f"{int(value):,}"


def capped(count: Capped) -> str:
    """Write an honest count: the sign says when counting stopped early."""
    return ("≥ " if count.is_capped else "") + number(count.value)


def milliseconds(value: float | None) -> str:
    """Write a duration given in milliseconds, in the unit a person would choose."""
    if value is None:
        return EMPTY
    if value < 0.95:
        return f"{value:.2f} ms" if value else "0 ms"
    if value < 10:
        return f"{value:.1f} ms"
    if value < 1_000:
        return f"{value:.0f} ms"
    if value < 10_000:
        return f"{value / 1000:.1f} s"
    return span(value / 1000)


def span(seconds: float) -> str:
    """Write a length of time with at most two units: "0.4 s", "38 min", "2 h 43 min", "1 d 5 h"."""
    if 0.05 <= seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 24:
        return f"{hours} h {minutes % 60:02d} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def ago(moment: datetime, now: datetime) -> str:
    """Write how far ``moment`` lies from ``now``: "4 s ago", "in 9 min", "just now"."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"{span(int(seconds))} ago" if seconds > 0 else f"in {span(int(-seconds))}"


def time_tag(moment: datetime | None, form: str, now: datetime) -> SafeString:
    """Return a <time> element, absolute in its title; ``form`` is "ago", "age", "clock", "minute" or "full"."""
    if moment is None:
        return format_html('<span class="quiet">{}</span>', EMPTY)
    utc = moment.astimezone(UTC)
    stamp = utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"
    day, clock, ms = stamp[:10], stamp[11:19], stamp[19:23]
    text: str | SafeString
    if form == "clock":
        shown = clock if utc.date() == now.astimezone(UTC).date() else f"{day} {clock}"
        text = format_html('{}<span class="quiet">{}</span>', shown, ms)
    elif form == "full":
        text = format_html('{} {}<span class="quiet">{}</span>', day, clock, ms)
    elif form == "minute":
        text = clock[:5]
    elif form == "age":
        text = span(max(0, int((now - moment).total_seconds())))
    else:
        text = ago(moment, now)
    return format_html(
        '<time class="when" datetime="{}" data-form="{}" title="{} {}{} UTC">{}</time>',
        stamp,
        form,
        day,
        clock,
        ms,
        text,
    )
