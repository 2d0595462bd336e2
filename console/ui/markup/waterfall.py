"""A lane of a waterfall: one bar on the shared axis, drawn with attributes: the policy allows no inline style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.ui.markup import numbers
from console.ui.markup.text import visible

THINNEST = 0.35
"""Percent of the axis below which a bar would not be seen."""
TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Fall:
    """One row. ``start`` and ``length`` are shares of the axis, 0 to 1; ``kind`` is "", "wait" or "open"."""

    name: str
    note: str
    icon: str
    state: str
    depth: int
    start: float
    length: float
    duration: str
    label: str = ""
    kind: str = ""
    is_critical: bool = False
    href: str = ""
    id: str = ""

    @property
    def level(self) -> int:
        return min(self.depth, 8)

    @property
    def icon_class(self) -> str:
        return f"s-{self.icon}" if self.state or self.kind else ""

    @property
    def lane(self) -> SafeString:
        left = min(max(self.start, 0.0), 1.0) * 100
        width = max(THINNEST, min(self.length * 100, 100 - left))
        left = min(left, 100 - width)
        fill = format_html(' fill="url(#hatch-{})"', self.kind) if self.kind else ""
        under = (
            format_html('<rect class="u" x="{}%" width="{}%" y="23" height="2"/>', f"{left:.2f}", f"{width:.2f}")
            if self.is_critical
            else ""
        )
        return format_html(
            '<svg class="lane-plot" aria-hidden="true"><rect class="b{}{}" x="{}%" width="{}%" y="8" height="12" rx="2"'
            "{}/>{}{}</svg>",
            f" s-{self.state}" if self.state else "", f" is-{self.kind}" if self.kind else "", f"{left:.2f}",
            f"{width:.2f}", fill, under, self._words(left, left + width),
        )  # fmt: skip

    def _words(self, left: float, right: float) -> SafeString | str:
        if not self.label:
            return ""
        if right < 62:
            return format_html('<text x="{}%" dx="8" y="18">{}</text>', f"{right:.2f}", visible(self.label))
        return format_html(
            '<text x="{}%" dx="-8" y="18" text-anchor="end">{}</text>', f"{left:.2f}", visible(self.label)
        )


def axis(total_us: float) -> list[str]:
    """Return the words at the axis' ticks."""
    return [numbers.milliseconds(total_us / 1000 * tick / TICKS) for tick in range(TICKS)]


def minimap(falls: list[tuple[float, float, str]], *, parts: Sequence[tuple[int, str]], most: int = 400) -> SafeString:
    """Return all rows of a long waterfall on a few pixels; what failed is always drawn.

    ``parts`` are the windows it is shown in, by their first row, with the address that each leads to.
    """
    step = max(1, len(falls) // most)
    drawn = [(place, fall) for place, fall in enumerate(falls) if place % step == 0 or fall[2] == "dead"]
    height = 100 / max(1, len(falls))
    rects = format_html_join(
        "", '<rect class="b{}" x="{}" y="{}" width="{}" height="{}"/>',
        (
            (
                f" s-{state}" if state else "", f"{start * 100:.2f}", f"{place * height:.2f}",
                f"{max(0.3, length * 100):.2f}", f"{max(0.8, height * step * 0.8):.2f}",
            )
            for place, (start, length, state) in drawn
        ),
    )  # fmt: skip
    ends = [*(first for first, _ in parts[1:]), len(falls)]
    ways = format_html_join(
        "", '<a href="{}" aria-label="{}"><rect class="way" x="0" y="{}" width="100" height="{}"/></a>',
        (
            (address, f"Spans {first + 1:,} to {end:,}", f"{first * height:.2f}", f"{(end - first) * height:.2f}")
            for (first, address), end in zip(parts, ends, strict=True)
        ),
    )  # fmt: skip
    return format_html(
        '<svg class="minimap" viewBox="0 0 100 100" preserveAspectRatio="none" role="group" aria-label="{}">{}{}</svg>',
        f"All {len(falls):,} spans", rects, ways,
    )  # fmt: skip


def share(moment: datetime, begin: datetime, total_us: float) -> float:
    return (moment - begin).total_seconds() * 1_000_000 / total_us if total_us else 0.0
