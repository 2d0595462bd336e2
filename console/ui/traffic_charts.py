"""The three charts of traffic: throughput, failures, critical time; on the overview and on a consumer's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from console.ui.markup import numbers, plots
from messaging import clock
from messaging.queries import overview

YOUNG_SECONDS = 10
"""An interval that began less than this ago tells no rate yet and is left out."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A range an operator can choose, and the width of one point."""

    slug: str
    word: str
    minutes: int
    step: int


WINDOWS = (
    Window(slug="15m", word="15 min", minutes=15, step=1),
    Window(slug="1h", word="1 h", minutes=60, step=1),
    Window(slug="6h", word="6 h", minutes=360, step=5),
    Window(slug="24h", word="24 h", minutes=1440, step=15),
)
DEFAULT = WINDOWS[1]


@dataclass(frozen=True, kw_only=True)
class TrafficCharts:
    window: Window
    charts: tuple[plots.Chart, ...]
    axis: plots.Axis
    is_empty: bool


def window_named(slug: str) -> Window:
    """Return the window of this slug; an unknown one is the default."""
    return next((window for window in WINDOWS if window.slug == slug), DEFAULT)


def traffic_charts(window: Window, *, consumer: str = "") -> TrafficCharts:
    """Read and draw one window. Needs one statement."""
    now = clock.now()
    series = overview.series(minutes=window.minutes + window.step, consumer=consumer, step=window.step)
    is_young = (now - series.minutes[-1]).total_seconds() < YOUNG_SECONDS
    shown = slice(0, -1) if is_young else slice(1, None)
    starts, step = series.minutes[shown], timedelta(minutes=window.step)
    spans = [min((now - start).total_seconds(), step.total_seconds()) for start in starts]

    def per_second(counts: Sequence[int]) -> list[float]:
        return [count / span for count, span in zip(counts[shown], spans, strict=True)]

    failures = [
        plots.Layer(
            word="dead-lettered", values=per_second(series.dead_lettered), classes="s-dead", key="is-fill s-dead"
        ),
        plots.Layer(
            word="will retry", values=per_second(series.will_retry), classes="s-retrying", key="is-fill s-retrying"
        ),
    ]
    if any(series.dropped):
        failures.append(
            plots.Layer(
                word="dropped", values=per_second(series.dropped), classes="s-discarded", key="is-fill s-discarded"
            )
        )
    handled = plots.Layer(word="handled", values=per_second(series.handled), classes="s-handled")
    critical = [
        plots.Layer(word="p95", values=series.critical_p95_ms[shown]),
        plots.Layer(word="p50", values=series.critical_p50_ms[shown], classes="two-l", key="k2"),
    ]
    return TrafficCharts(
        window=window,
        charts=(
            plots.area("Handled per second", handled, words=rate, label=f"Handled per second, last {window.word}"),
            plots.stacks("Failures per second", failures, words=rate, label=f"Failures per second, last {window.word}"),
            plots.lines(
                "Critical time",
                critical,
                words=numbers.milliseconds,
                label=f"Critical time p95 and p50, last {window.word}",
            ),
        ),
        axis=plots.axis(starts, step),
        is_empty=not any((*series.handled, *series.dead_lettered, *series.will_retry, *series.dropped)),
    )


def rate(value: float) -> str:
    """Write a rate with as many digits as it deserves: 0, 0.03, 1.7, 12.4, 1,240."""
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    if value >= 0.1:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.01 else "< 0.01"
