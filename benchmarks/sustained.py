"""``python -m benchmarks.sustained``: four producers at 80 % of the measured limit, for minutes or hours.

First the limit is measured, then the same processes run at a steady rate on a database that holds ten days of history.
Backlog, sizes of the tables that work passes through, dead rows and memory are read all along; half-way, retention
drops the partitions of the oldest days under load. Writes benchmarks/sustained.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import psutil

from benchmarks import findings, servers, steps
from benchmarks.measures import four_producers
from benchmarks.servers import Servers
from benchmarks.stage import Stage, open_stage
from benchmarks.systems import SYSTEMS

PRODUCERS, SHARE = 4, 0.8
HISTORY, KEPT_DAYS = 200_000, 3
SCHEDULER = (sys.executable, "manage.py", "scheduler")
BUS = replace(SYSTEMS["bus"], commands=(*SYSTEMS["bus"].commands, SCHEDULER))
HOT = ("messaging_outboxentry", "messaging_delivery", "messaging_rollupdelta", "messaging_unsealedrecords")
"""Tables that every message passes through and leaves."""
DEALT_WITH = (
    "UPDATE messaging_deadletter SET state = 'discarded', resolved_at = dead_at",
    "UPDATE messaging_sagainstance SET ended_at = changed_at WHERE ended_at IS NULL",
    "DELETE FROM messaging_scheduledmessage",
    "DELETE FROM messaging_delivery",
)
"""What the stored history has unfinished keeps its messages for as long as it takes; here it was finished."""
EVERY = 5.0
SETTLING = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment; sizes with indexes in MB, memory (unshared) in MB."""

    seconds: float
    placed: int
    handled: int
    backlog: int
    hot_mb: float
    dead_rows: int
    memory_mb: float
    partitions: int


def sample(stage: Stage, began: float) -> Sample:
    hot = ", ".join(f"'{table}'" for table in HOT)
    backlog, size, dead, partitions = stage.row(
        "SELECT (SELECT count(*) FROM messaging_outboxentry) + (SELECT count(*) FROM messaging_delivery),"
        f" (SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(ARRAY[{hot}]) AS name),"
        f" (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname IN ({hot})),"
        " (SELECT count(*) FROM pg_inherits WHERE inhparent = 'messaging_message'::regclass)"
    )
    placed, handled = stage.row("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM reservations)")
    return Sample(
        seconds=round(time.monotonic() - began, 1), placed=int(placed), handled=int(handled), backlog=int(backlog),
        hot_mb=round(float(size) / 1e6, 2), dead_rows=int(dead), memory_mb=round(stage.memory(), 1),
        partitions=int(partitions),
    )  # fmt: skip


def limit(running: Servers, template: str, n: int) -> float:
    """Return the events per second that four producers reach end to end, as fast as they can."""
    with open_stage(running, SYSTEMS["bus"], template=template, handler="insert") as stage:
        return four_producers(stage, n)["e2e4"]


def run(running: Servers, template: str, rate: float, minutes: float) -> tuple[list[Sample], int]:
    """Keep the load up and return the samples and how many partitions retention dropped.

    Raises:
        SystemExit: an order was lost or handled twice, or the backlog did not drain after the load.
    """
    system = replace(BUS, environment={"BENCH_RETENTION_DAYS": str(KEPT_DAYS)})
    with open_stage(running, system, template=template, handler="insert") as stage:
        stage.start_consumers()
        time.sleep(3)
        began = time.monotonic()
        each = int(rate * minutes * 60 / PRODUCERS)
        producers = [stage.producer(each, rate=rate / PRODUCERS) for _ in range(PRODUCERS)]
        samples: list[Sample] = []
        pruning: subprocess.Popen[bytes] | None = None
        while any(process.poll() is None for process in producers):
            samples.append(sample(stage, began))
            if pruning is None and samples[-1].seconds > minutes * 30:
                pruning = stage.run("manage.py", "shell", "-c", "from messaging.pruning import prune; prune()")
            if len(samples) % 12 == 0:
                print(asdict(samples[-1]), file=sys.stderr, flush=True)
            time.sleep(EVERY)
        if pruning is not None and pruning.wait():
            raise SystemExit("retention failed under load")
        end = time.monotonic() + SETTLING
        while stage.count() < each * PRODUCERS and time.monotonic() < end:
            time.sleep(0.1)
        missing, duplicated = stage.missing_and_duplicated()
        if missing or duplicated or stage.count() != each * PRODUCERS:
            raise SystemExit(f"{stage.count()} of {each * PRODUCERS} handled, {missing} missing, {duplicated} twice")
        return samples, samples[0].partitions - samples[-1].partitions


def verdict(samples: list[Sample]) -> dict[str, Any]:
    """Compare the last third of the run with the one in the middle; the first warms up.

    Flat: the median backlog is at most a quarter of a second's work more, tables and memory at most a tenth larger.
    """
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    rate = (samples[-1].handled - samples[third].handled) / (samples[-1].seconds - samples[third].seconds)
    backlog = [median(one.backlog for one in part) for part in (middle, last)]
    size = [max(one.hot_mb for one in part) for part in (middle, last)]
    dead = [max(one.dead_rows for one in part) for part in (middle, last)]
    memory = [median(one.memory_mb for one in part) for part in (middle, last)]
    return {
        "rate": round(rate, 1), "backlog": backlog, "most_backlog": max(one.backlog for one in [*middle, *last]),
        "hot_mb": size, "dead_rows": dead, "memory_mb": memory,
        "is_flat": backlog[1] <= backlog[0] + rate / 4 and size[1] <= size[0] * 1.1 and memory[1] <= memory[0] * 1.1,
    }  # fmt: skip


def main() -> None:
    parser = findings.parser("sustained", __doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--n", type=int, default=8_000, help="orders that the limit is measured with")
    arguments = parser.parse_args()
    running = servers.start()
    template = steps.make_template(running)
    steps.inside(running, str(HISTORY), database=template, module="benchmarks.history")
    for statement in DEALT_WITH:
        running.execute(statement, database=template)
    most = limit(running, template, arguments.n)
    print(f"Limit {most:,.0f}/s; {SHARE:.0%} of it for {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
    samples, dropped = run(running, template, most * SHARE, arguments.minutes)
    found = {
        **findings.conditions(minutes=15),
        "minutes": arguments.minutes, "limit": round(most, 1), "asked": round(most * SHARE, 1),
        "handled": samples[-1].handled, "dropped_partitions": dropped, **verdict(samples),
        "samples": [list(asdict(one).values()) for one in samples[:: max(1, len(samples) // 120)]],
        "columns": list(Sample.__dataclass_fields__), "memory_of_machine_mb": psutil.virtual_memory().total // 10**6,
    }  # fmt: skip
    findings.write(arguments.output, found)
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1))


if __name__ == "__main__":
    main()
