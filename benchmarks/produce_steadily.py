"""One producer process that publishes at a rate: each batch of orders is one transaction and one ``publish_many``.

Now and then it also tells a change of its own, of a kind that nothing else here changes, right after a COMMIT, so that
a browser's hint can be told from all others. Prints "ready", starts when a line arrives on standard input, and prints
one line of JSON: how many were published, from when to when, its CPU seconds, and the changes with their times.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import cycle

BATCHES = 20
"""Transactions a second."""
MARKS = ("quarantine", "operations", "sagas")
"""Topics that nothing else changes in this workload."""
MARK_EVERY = 2.0
"""Seconds between two of these changes; the same topic comes again after six."""

GRACE = 1.0
"""Seconds in which batches that a busy machine delayed may still be published; the rate is that of the whole time."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    import django

    django.setup()
    from django.db import connection

    connection.ensure_connection()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(produce(arguments.rate, arguments.seconds)), flush=True)


def produce(rate: float, seconds: float) -> dict[str, object]:
    """Publish what is due, batch by batch, for so long; what is later than that is left out."""
    from messaging.signals import changed

    marks: list[tuple[str, float]] = []
    names, busy, published = cycle(MARKS), time.process_time(), 0
    started_at = time.time()
    for number in range(1, int(seconds * BATCHES) + 1):
        time.sleep(max(0.0, started_at + number / BATCHES - time.time()))
        if time.time() > started_at + seconds + GRACE:
            break
        due = int(number * rate / BATCHES)
        _place(published, due)
        published = due
        if time.time() >= started_at + len(marks) * MARK_EVERY:
            name = next(names)
            marks.append((name, time.time()))
            changed.send_robust(None, topics=frozenset({name}))
    return {
        "published": published,
        "started_at": started_at,
        "ended_at": time.time(),
        "cpu": time.process_time() - busy,
        "marks": marks,
    }


def _place(first: int, end: int) -> None:
    from django.db import transaction

    from benchmarks.orders.bus import publish_orders
    from benchmarks.orders.work import new_order, store_orders

    orders = [new_order(number) for number in range(first, end)]
    if orders:
        with transaction.atomic():
            store_orders(orders)
            publish_orders(orders)


if __name__ == "__main__":
    main()
