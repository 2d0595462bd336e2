"""``python -m benchmarks.scaling``: throughput by worker processes, relays, consumers of an event, and backlog.

Every line compares variants of this bus in turns on the same machine. Writes benchmarks/scaling.json.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks import findings, servers
from benchmarks.backlog import fill
from benchmarks.servers import Servers
from benchmarks.stage import Stage, Stuck, open_stage
from benchmarks.systems import SYSTEMS, System

BUS = SYSTEMS["bus"]
RELAY, _ = BUS.commands
MEASURED = 20_000
"""Of a backlog that is larger, so many of its deliveries are measured."""
PATIENCE = 300.0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a line: ``x`` as the report shows it, and what runs there on how many orders."""

    line: str
    x: int
    system: System
    n: int
    handler: str = "insert"
    template: str = "template_bus"
    rounds: int | None = None


def variants(n: int, backlogs: Sequence[int]) -> list[Variant]:
    """Return every point of every line; ``n`` is the deliveries of one measurement."""
    return [
        *(Variant(line="workers", x=count, system=_workers(count), n=n) for count in (1, 2, 4, 8)),
        *(
            Variant(line="workers, 5 ms call", x=count, system=_workers(count), n=n // 4, handler="call")
            for count in (1, 2, 4, 8)
        ),
        *(Variant(line="relays", x=count, system=replace(BUS, commands=(RELAY,) * count), n=n) for count in (1, 2, 4)),
        *(
            Variant(line="consumers", x=count, system=_consumers(count), n=n // count, template=_template(count))
            for count in (1, 10, 100)
        ),
        *(
            Variant(line="backlog", x=count, system=BUS, n=count, rounds=1 if count > 100_000 else None)
            for count in backlogs
        ),
    ]


def _workers(count: int) -> System:
    return replace(BUS, commands=(RELAY, (sys.executable, "manage.py", "worker", "--concurrency", str(count))))


def _consumers(count: int) -> System:
    return replace(BUS, name=f"bus-{count}", environment={"BENCH_CONSUMERS": str(count)})


def _template(consumers: int) -> str:
    return f"template_bus_{consumers}"


def drain(stage: Stage, variant: Variant) -> dict[str, float]:
    """Measure deliveries per second of a backlog, all processes started on it at once."""
    fill(stage, variant.n)
    consumers = int(stage.system.environment.get("BENCH_CONSUMERS", "1"))
    stage.start_consumers()
    _until(lambda: _done(stage) > 0, variant)
    began, before = _done(stage), stage.read()  # starting is not part of it
    _until(lambda: _done(stage) >= variant.n * consumers, variant)
    after = stage.read()
    _check(stage, variant.n, consumers)
    cpu = after.cpu - before.cpu + after.database_cpu - before.database_cpu
    thousands = (variant.n * consumers - began) / 1000
    return {"rate": stage.span().rate, "cpu": cpu / thousands}


def relay(stage: Stage, variant: Variant) -> dict[str, float]:
    """Measure messages per second from the outbox into deliveries, no worker running."""
    fill(stage, variant.n)
    stage.start_consumers()
    return {"rate": _relayed(stage, variant)}


def backlog(stage: Stage, variant: Variant) -> dict[str, float]:
    """Relay the whole backlog first, then deliver as much of it as tells the rate."""
    fill(stage, variant.n)
    relays, workers = replace(BUS, commands=(RELAY,)), replace(BUS, commands=BUS.commands[1:])
    stage.system = relays
    stage.start_consumers()
    relayed = _relayed(stage, variant)
    wanted = min(variant.n, MEASURED)
    stage.system = workers
    stage.start_consumers()
    _until(lambda: stage.count() >= wanted, variant)
    stage.kill_consumers()
    count = stage.count()
    left = stage.row("SELECT count(*) FROM messaging_delivery")[0]
    if count + left != variant.n:
        raise SystemExit(f"{count} handled and {left} waiting of a backlog of {variant.n}")
    return {"relayed": relayed, "rate": stage.span().rate}


def _relayed(stage: Stage, variant: Variant) -> float:
    """Return the rate at which the outbox empties, from the first look that finds some of it gone."""
    seen: list[tuple[float, int]] = []

    def is_empty() -> bool:
        left = int(stage.row("SELECT count(*) FROM messaging_outboxentry")[0])
        if left < variant.n:
            seen.append((time.monotonic(), left))
        return not left

    _until(is_empty, variant)
    (began, left), (ended, _) = seen[0], seen[-1]
    return left / (ended - began) if len(seen) > 1 else float(variant.n)


def _done(stage: Stage) -> int:
    return int(stage.row("SELECT (SELECT count(*) FROM reservations) + (SELECT count(*) FROM notices)")[0])


def _check(stage: Stage, n: int, consumers: int) -> None:
    found = tuple(
        map(
            int,
            stage.row(
                "SELECT (SELECT count(*) FROM reservations), (SELECT coalesce(sum(runs), 0) FROM reservations),"
                " (SELECT count(*) FROM notices), (SELECT coalesce(sum(runs), 0) FROM notices)"
            ),
        )
    )
    if found != (n, n, n * (consumers - 1), n * (consumers - 1)):
        raise SystemExit(f"{found} is not what {n} orders with {consumers} consumers come to")


def _until(is_done: Callable[[], bool], variant: Variant) -> None:
    end = time.monotonic() + PATIENCE
    while not is_done():
        if time.monotonic() > end:
            raise Stuck(f"{variant.line} {variant.x}: not done after {PATIENCE:.0f} s")
        time.sleep(0.02)


WAYS = {"relays": relay, "backlog": backlog}


def measure(running: Servers, chosen: Sequence[Variant], rounds: int) -> dict[str, dict[str, Any]]:
    """Return for each line and point the median, least and most of its figures."""
    for system in {variant.system.name: variant.system for variant in chosen}.values():
        servers.make_template(running, system)
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for number in range(rounds):
        for variant in _in_turn(chosen, number):
            with open_stage(running, variant.system, template=variant.template, handler=variant.handler) as stage:
                figures = WAYS.get(variant.line, drain)(stage, variant)
            found.setdefault((variant.line, variant.x), []).append(figures)
            shown = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
            print(f"[{number + 1}/{rounds}] {variant.line:20} {variant.x:9,}  {shown}", file=sys.stderr, flush=True)
    lines: dict[str, dict[str, Any]] = {}
    for (line, x), runs in found.items():
        lines.setdefault(line, {})[str(x)] = {name: _spread([run[name] for run in runs]) for name in runs[0]}
    return lines


def _in_turn(chosen: Sequence[Variant], number: int) -> Iterator[Variant]:
    for variant in chosen if number % 2 == 0 else reversed(chosen):
        if variant.rounds is None or number < variant.rounds:
            yield variant


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def main() -> None:
    parser = findings.parser("scaling", __doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=10_000, help="deliveries of one measurement")
    parser.add_argument("--backlogs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--lines", nargs="+", help="of workers, relays, consumers, backlog; all without it")
    arguments = parser.parse_args()
    chosen = variants(arguments.n, arguments.backlogs)
    if arguments.lines:
        chosen = [variant for variant in chosen if variant.line.partition(",")[0] in arguments.lines]
        if not chosen:
            parser.error("--lines: choose from workers, relays, consumers, backlog")
    running = servers.start()
    found = {
        **findings.conditions(),
        "cores": os.cpu_count(),
        "rounds": arguments.rounds,
        "n": arguments.n,
        "lines": measure(running, chosen, arguments.rounds),
    }
    findings.write(arguments.output, found)


if __name__ == "__main__":
    main()
