"""Small charts as SVG. Lengths are attributes, because the content security policy allows no inline style."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 96, 24


def _frame(content: SafeString, *, status: str, label: str, wide: bool) -> SafeString:
    classes = f"spark{f' s-{status}' if status else ''}{' is-wide' if wide else ''}"
    named = format_html('role="img" aria-label="{}"', label) if label else format_html("{}", 'aria-hidden="true"')
    if not label:
        named = SafeString('aria-hidden="true"')
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" {}>{}</svg>',
        classes,
        WIDTH,
        HEIGHT,
        named,
        content,
    )


def sparkline(
    values: Sequence[float | None], *, status: str = "", label: str = "", top: float | None = None, wide: bool = False
) -> SafeString:
    """Return a line over its area; a gap (None) counts as nothing."""
    points = [float(value or 0) for value in values] or [0.0]
    if len(points) == 1:
        points *= 2
    highest = top or max(points) or 1
    step = WIDTH / (len(points) - 1)
    path = "L".join(
        f"{index * step:.1f} {HEIGHT - 1 - min(1.0, value / highest) * (HEIGHT - 3):.1f}"
        for index, value in enumerate(points)
    )
    content = format_html(
        '<path class="a" d="M{}L{} {}L0 {}Z"/><path class="l" d="M{}"/>', path, WIDTH, HEIGHT, HEIGHT, path
    )
    return _frame(content, status=status, label=label, wide=wide)


def columns(
    values: Sequence[float], *, status: str = "", label: str = "", top: float | None = None, wide: bool = False
) -> SafeString:
    """Return one column per value; an empty one leaves a faint foot, so that the axis stays visible."""
    points = [float(value or 0) for value in values] or [0.0]
    highest = top or max(points) or 1
    step = WIDTH / len(points)
    width = f"{step * 0.7:.1f}"
    bars = []
    for index, value in enumerate(points):
        height = max(1.0, min(1.0, value / highest) * (HEIGHT - 2)) if value else 1.0
        faint = "" if value else ' opacity=".3"'
        bars.append(
            f'<rect class="b" x="{index * step:.1f}" y="{HEIGHT - height:.1f}" width="{width}"'
            f' height="{height:.1f}"{faint}/>'
        )
    content = SafeString("".join(bars))  # of numbers alone: a page of groups has thousands of them
    return _frame(content, status=status, label=label, wide=wide)


def bar(share: float, *, status: str = "", label: str = "") -> SafeString:
    """Return a bar filled to ``share`` (0 to 1)."""
    width = max(0.0, min(1.0, share)) * 100
    return format_html(
        '<svg class="bar{}" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="b" width="{}" height="4"/></svg>',
        f" s-{status}" if status else "",
        label or f"{width:.0f} %",
        f"{width:.1f}",
    )


def stacked(parts: Sequence[tuple[str, float]], *, label: str = "") -> SafeString:
    """Return one bar of several states; ``parts`` are (status, amount) in order, a non-zero part is always visible."""
    present = [(status, amount) for status, amount in parts if amount > 0]
    total = sum(amount for _, amount in present) or 1
    widths = [max(0.8, amount / total * 100) for _, amount in present]
    scale = 100 / sum(widths) if widths else 1
    rects, left = [], 0.0
    for (status, _), width in zip(present, widths, strict=True):
        rects.append((status, f"{left:.2f}", f"{max(0.4, width * scale - 0.2):.2f}"))
        left += width * scale
    return format_html(
        '<svg class="stackbar" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        label or ", ".join(f"{amount:,g} {status}" for status, amount in parts),
        format_html_join("", '<rect class="b s-{}" x="{}" width="{}" height="4"/>', rects),
    )
