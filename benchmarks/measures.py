"""The measures. Each gets a fresh stage, returns figures by name, and every run is checked for exactness after it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import percentile
from benchmarks.stage import Reading, Stage, Stuck

WARM = 20
"""Orders that warm up consumers before they are measured."""
LATENCY_RATE, BUSY_RATE = 50.0, 500.0
KILLS = (0.2, 0.4, 0.6)

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How to measure, and how many times the run's ``--n`` orders it takes."""

    run: Callable[[Stage, int], Figures]
    share: float = 1.0
    about: str

    def orders(self, n: int) -> int:
        return max(1, int(n * self.share))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one number of the report means. ``of`` names its measure; ``is_cost``: less is better."""

    of: str
    title: str
    unit: str
    is_cost: bool = False


def publish_then_drain(stage: Stage, n: int) -> Figures:
    """Publish with no consumer running, then start consumers on the backlog."""
    published = stage.produce(n)
    stage.start_consumers()
    readings = [reading for reading in stage.wait_for(n) if reading.count]
    return {"publish": published["rate"], "drain": stage.span().rate, **_cost(readings, "drain")}


def end_to_end(stage: Stage, n: int, *, producers: int = 1) -> Figures:
    """Publish as fast as possible while warm consumers run."""
    _warm_up(stage)
    rows, before = stage.rows(), stage.read()
    published = stage.produce(n) if producers == 1 else stage.produce_in_parallel(n, producers)
    *_, after = stage.wait_for(WARM + n)
    name = "e2e" if producers == 1 else f"e2e{producers}"
    figures = {name: n / (stage.span().last - published["started_at"]), f"{name}_publish": published["rate"]}
    if producers > 1:
        return figures
    return {
        **figures,
        **_cost([before, after], "e2e"),
        "commits": (after.commits - before.commits) / n,
        "wal": (after.wal - before.wal) / n,
        "rows": (stage.rows() - rows) / n,
        "memory": stage.memory(),
    }


def four_producers(stage: Stage, n: int) -> Figures:
    """The same with four producers."""
    return end_to_end(stage, n, producers=4)


def latency(stage: Stage, n: int, *, rate: float = LATENCY_RATE) -> Figures:
    """Place orders at a steady rate: from the return of COMMIT to the handler's statement."""
    _warm_up(stage)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "commits.json"
        stage.produce(n, rate=rate, commits=path)
        for _ in stage.wait_for(WARM + n):
            pass
        commits: dict[str, float] = json.loads(path.read_text())
    reserved = stage.reserved_at()
    taken = sorted((reserved[order] - committed) * 1000 for order, committed in commits.items())
    stage.samples = [round(milliseconds, 3) for milliseconds in taken]
    suffix = "" if rate == LATENCY_RATE else f"_{rate:.0f}"
    return {f"p{percent}{suffix}": percentile(taken, percent) for percent in (50, 95, 99)}


def busy_latency(stage: Stage, n: int) -> Figures:
    """The same at 500 orders a second."""
    return latency(stage, n, rate=BUSY_RATE)


def kill(stage: Stage, n: int) -> Figures:
    """kill -9 all consumers and relays at 20, 40 and 60 % of the backlog, start them again, count what came of it."""
    stage.produce(n)
    for share in KILLS:
        stage.start_consumers()
        _settle(stage, int(n * share), every=0.01)
        stage.kill_consumers()
    stage.start_consumers()
    restarted_at = time.monotonic()
    _settle(stage, n)
    settled_after = time.monotonic() - restarted_at
    missing, duplicated = stage.missing_and_duplicated()
    found: Figures = {"missing": missing, "duplicated": duplicated}
    return found if missing else {**found, "settled_after": settled_after}


def _settle(stage: Stage, count: int, *, every: float = 0.05) -> None:
    """Wait as long as a system may take to find what its dead processes held; what is missing then is lost."""
    try:
        for _ in stage.wait_for(count, every=every, stuck_after=stage.system.settle_seconds):
            pass
    except Stuck:
        if stage.system.is_bus or not stage.count():
            raise  # it has to go on by itself; of another, that it never began is an error and no loss


def _warm_up(stage: Stage) -> None:
    stage.start_consumers()
    stage.produce(WARM)
    for _ in stage.wait_for(WARM):
        pass


def _cost(readings: list[Reading], name: str) -> Figures:
    """Return CPU seconds per 1,000 events between the first and the last reading."""
    first, last = readings[0], readings[-1]
    thousands = (last.count - first.count) / 1000
    if not thousands:
        return {}
    return {
        f"{name}_cpu": (last.cpu - first.cpu) / thousands,
        f"{name}_database_cpu": (last.database_cpu - first.database_cpu) / thousands,
    }


MEASURES = {
    "drain": Measure(  # of --n alone a batch consumer makes half a second's work
        run=publish_then_drain,
        share=3.0,
        about="publish with no consumer running, then drain the backlog",
    ),
    "e2e": Measure(run=end_to_end, about="one producer as fast as it can, two warm consumers"),
    "e2e4": Measure(run=four_producers, about="four producers"),
    "latency": Measure(run=latency, share=0.5, about="50 orders a second, commit to the handler's statement"),
    "latency500": Measure(run=busy_latency, about="500 orders a second, or as many as one producer can"),
    "kill": Measure(run=kill, about="kill -9 of all consumers and relays at 20, 40 and 60 % of a backlog"),
}

FIGURES = {
    "drain": Figure(of="drain", title="drain of a backlog", unit="events/s"),
    "e2e": Figure(of="e2e", title="end to end, 1 producer", unit="events/s"),
    "e2e4": Figure(of="e2e4", title="end to end, 4 producers", unit="events/s"),
    "publish": Figure(of="drain", title="publish, nobody consuming", unit="tx/s"),
    "e2e_publish": Figure(of="e2e", title="publish while consuming", unit="tx/s"),
    "e2e4_publish": Figure(of="e2e4", title="publish while consuming, 4 producers", unit="tx/s"),
    "p50": Figure(of="latency", title="latency at 50/s, p50", unit="ms", is_cost=True),
    "p95": Figure(of="latency", title="latency at 50/s, p95", unit="ms", is_cost=True),
    "p99": Figure(of="latency", title="latency at 50/s, p99", unit="ms", is_cost=True),
    "p50_500": Figure(of="latency500", title="latency at 500/s, p50", unit="ms", is_cost=True),
    "p95_500": Figure(of="latency500", title="latency at 500/s, p95", unit="ms", is_cost=True),
    "p99_500": Figure(of="latency500", title="latency at 500/s, p99", unit="ms", is_cost=True),
    "drain_cpu": Figure(of="drain", title="CPU to drain: consumers and relay", unit="s per 1,000", is_cost=True),
    "drain_database_cpu": Figure(of="drain", title="CPU to drain: PostgreSQL", unit="s per 1,000", is_cost=True),
    "e2e_cpu": Figure(of="e2e", title="CPU end to end: consumers and relay", unit="s per 1,000", is_cost=True),
    "e2e_database_cpu": Figure(of="e2e", title="CPU end to end: PostgreSQL", unit="s per 1,000", is_cost=True),
    "commits": Figure(of="e2e", title="transactions per event, end to end", unit="", is_cost=True),
    "wal": Figure(of="e2e", title="WAL per event, end to end", unit="bytes", is_cost=True),
    "rows": Figure(of="e2e", title="rows left behind per event", unit="", is_cost=True),
    "memory": Figure(
        of="e2e", title="memory of all consumers and relays that no other shares", unit="MB", is_cost=True
    ),
    "missing": Figure(of="kill", title="missing after three kill -9", unit="orders", is_cost=True),
    "duplicated": Figure(of="kill", title="duplicated after three kill -9", unit="orders", is_cost=True),
    "settled_after": Figure(of="kill", title="all handled after the last kill", unit="s", is_cost=True),
}
