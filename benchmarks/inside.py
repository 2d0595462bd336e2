"""One process that does every step of the order workload by itself: what each costs, without the noise of others.

Prints one line of JSON: for each step the CPU milliseconds of Python and of its database session, and the round trips
to the server, per event. Times on the clock depend on what else runs; these do not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import psutil

WARM, BLOCK = 20, 200
Step = dict[str, float]


class Meter:
    """Measures the time that happens inside ``step``, the keeping of its spans included; blocks of one step add up."""

    def __init__(self) -> None:
        self._sums: dict[str, Counter[str]] = defaultdict(Counter)

    @contextmanager
    def step(self, name: str, n: int) -> Iterator[None]:
        python, database, began = time.process_time(), _cpu_of_session(), time.perf_counter()
        yield
        _keep_spans()
        spent = {"seconds": time.perf_counter() - began, "python": time.process_time() - python}
        self._add(name, n, database=_cpu_of_session() - database, **spent)

    def _add(self, name: str, n: int, **spent: float) -> None:
        sums: Any = self._sums[name]  # a Counter of floats, which its type does not know
        sums.update(spent, n=n)

    @property
    def steps(self) -> dict[str, Step]:
        """What each step cost for each event."""
        return {
            name: {
                "python_ms": sums["python"] * 1000 / sums["n"],
                "database_ms": sums["database"] * 1000 / sums["n"],
                "per_second": sums["n"] / sums["seconds"],
            }
            for name, sums in self._sums.items()
        }


class RoundTrips(Meter):
    """Counts how often the server was asked and answered; the trace that tells costs time, so none is measured."""

    @contextmanager
    def step(self, name: str, n: int) -> Iterator[None]:
        from django.db import connection

        if connection.vendor != "postgresql":
            yield
            return
        connection.ensure_connection()
        session = connection.connection.pgconn
        with TemporaryFile() as file:
            session.trace(file.fileno())
            yield
            session.untrace()
            file.seek(0)
            self._add(name, n, trips=file.read().count(b"ReadyForQuery"))

    @property
    def steps(self) -> dict[str, Step]:
        return {name: {"round_trips": sums["trips"] / sums["n"]} for name, sums in self._sums.items()}


def _keep_spans() -> None:
    """Write what the thread of the span store has not come to."""
    from opentelemetry import trace

    flush = getattr(trace.get_tracer_provider(), "force_flush", None)  # without tracing there is no real provider
    if flush is not None:
        flush()


def _cpu_of_session() -> float:
    """Return the CPU seconds of this database's server processes, the span store's too; SQLite has none of its own."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        pids = [pid for (pid,) in cursor.fetchall()]
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(each.user + each.system for each in times))


def measure(n: int, *, padding: int = 0) -> dict[str, Step]:
    """Place ``n`` orders without and with their event, relay them and deliver them; ``padding``: bytes added to each.

    Raises:
        SystemExit: not every order was reserved exactly once.
    """
    meter, trips = Meter(), RoundTrips()
    counts = {Meter(): WARM, trips: 100, meter: n}  # the first connects, compiles and fills caches
    for chosen, count in counts.items():
        for first in range(0, count, BLOCK):  # in turns, so that each meets the same machine
            block = min(BLOCK, count - first)
            _place(chosen, "order", block)
            _place(chosen, "two_orders", block, orders=2)  # what one more INSERT costs, to compare a publish with
            _place(chosen, "publish", block, padding=padding)
        _drain(chosen, count)
    _check(sum(counts.values()))
    return {name: {**step, **trips.steps.get(name, {})} for name, step in meter.steps.items()}


def serve(n: int) -> None:
    """Measure ``n`` orders for each line of standard input, and answer with a line: blocks of arms take turns so."""
    _flow(Meter(), WARM)
    done = WARM
    print("ready", flush=True)
    for _ in sys.stdin:
        meter = Meter()
        _flow(meter, n)
        done += n
        print(json.dumps(meter.steps), flush=True)
    _check(done)


def _flow(meter: Meter, count: int) -> None:
    _place(meter, "publish", count)
    _drain(meter, count)


def _drain(meter: Meter, count: int) -> None:
    from messaging.consumers import find_consumer
    from messaging.delivery.loop import deliver_once
    from messaging.relay import fan_out

    consumer = find_consumer("orders.reserve")
    assert consumer is not None
    with meter.step("relay", count):
        while fan_out().taken:
            pass
    with meter.step("deliver", count):
        while deliver_once(consumer):
            pass


def _place(meter: Meter, step: str, n: int, *, orders: int = 1, padding: int = 0) -> None:
    """Place ``n`` times as many ``orders``, made before the clock runs: a step is INSERTs, publish() and COMMIT."""
    from django.db import transaction

    from benchmarks.orders.bus import event_of
    from benchmarks.orders.work import new_order, row_of
    from messaging import publish

    given = {"customer": "x" * padding} if padding else {}
    made = [[new_order(number) for _ in range(orders)] for number in range(n)]
    rows = [[row_of(order) for order in each] for each in made]
    events = [event_of({**each[0], **given}) if step == "publish" else None for each in made]
    with meter.step(step, n):
        for stored, event in zip(rows, events, strict=True):
            with transaction.atomic():
                for row in stored:
                    row.save(force_insert=True)
                if event is not None:
                    publish(event)


def _check(expected: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), coalesce(sum(runs), 0) FROM reservations")
        found = tuple(map(int, cursor.fetchone()))
    if found != (expected, expected):
        raise SystemExit(f"{found[0]} reservations in {found[1]} runs of {expected} orders")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--padding", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help="measure again for each line of standard input")
    parser.add_argument("--profile", action="store_true", help="print where Python's time goes")
    arguments = parser.parse_args()
    import django

    django.setup()
    if arguments.serve:
        serve(arguments.n)
        return
    if arguments.profile:
        import cProfile
        import pstats

        profiler = cProfile.Profile()
        profiler.enable()
        measure(arguments.n, padding=arguments.padding)
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
        return
    print(json.dumps(measure(arguments.n, padding=arguments.padding)))


if __name__ == "__main__":
    main()
