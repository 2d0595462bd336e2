"""From runs to figures: medians, ratios paired within a round, and how sure they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.systems import REFERENCE

RESAMPLES = 4000


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measure of one system in one round."""

    round: int
    handler: str
    measure: str
    system: str
    n: int
    figures: dict[str, float]
    missing: int
    duplicated: int
    error: str = ""
    samples: list[float] = field(default_factory=list)
    """Of a latency measure: what each event took, in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One line of latest.json. ``ratio`` is to the reference, paired round by round; ``low`` to ``high`` is 95 %."""

    handler: str
    measure: str
    system: str
    runs: int
    median: float
    min: float
    max: float
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """Summarise every figure of every system, in the order in which they were first measured."""
    by_key: dict[tuple[str, str, str], dict[int, float]] = {}
    for run in runs:
        for figure, value in run.figures.items():
            by_key.setdefault((run.handler, figure, run.system), {})[run.round] = value
    return [
        _summary(key, values, by_key.get((key[0], key[1], REFERENCE), {}) if key[2] != REFERENCE else {})
        for key, values in by_key.items()
    ]


def curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the percentiles 0 to 100 of every latency measure, all rounds of a system together, in milliseconds."""
    pooled: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        pooled.setdefault((run.handler, run.measure, run.system), []).extend(run.samples)
    return [
        {"handler": handler, "measure": measure, "system": system, "ms": _percentiles(sorted(samples))}
        for (handler, measure, system), samples in pooled.items()
        if samples
    ]


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return a percentile of values in order."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _percentiles(samples: list[float]) -> list[float]:
    return [round(percentile(samples, percent), 3) for percent in range(101)]


def _summary(key: tuple[str, str, str], values: dict[int, float], reference: dict[int, float]) -> Summary:
    handler, figure, system = key
    ratios = [value / reference[number] for number, value in values.items() if reference.get(number)]
    low, high = interval(ratios)
    return Summary(
        handler=handler, measure=figure, system=system, runs=len(values), median=median(values.values()),
        min=min(values.values()), max=max(values.values()), ratio=median(ratios) if ratios else None,
        ratio_min=min(ratios, default=None), ratio_max=max(ratios, default=None), low=low, high=high,
    )  # fmt: skip


def interval(ratios: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the bootstrap 95 % interval of the median; below three pairs there is none worth the name."""
    if len(ratios) < 3:
        return None, None
    source = random.Random(1)
    medians = sorted(median(source.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975) - 1]
