"""One producer process: each order is one transaction that stores it and publishes its event.

Prints one line of JSON: first start, last commit, events per second.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Publish = Callable[[dict[str, Any]], None]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--publisher", required=True, help="module with publish_order()")
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--rate", type=float, help="orders per second; as fast as possible without it")
    parser.add_argument("--commits", type=Path, help="write order ids and commit times here")
    parser.add_argument("--wait", action="store_true", help="start when a line arrives on standard input")
    arguments = parser.parse_args()
    import django

    django.setup()
    from django.db import connection

    publish: Publish = importlib.import_module(arguments.publisher).publish_order
    connection.ensure_connection()
    if arguments.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    started_at = time.time()
    commits = produce(publish, arguments.n, arguments.rate)
    ended_at = time.time()
    if arguments.commits:
        arguments.commits.write_text(json.dumps(commits))
    print(json.dumps({"started_at": started_at, "ended_at": ended_at, "rate": arguments.n / (ended_at - started_at)}))


def produce(publish: Publish, n: int, rate: float | None) -> dict[str, float]:
    """Place ``n`` orders; with a rate, return when each was committed."""
    from django.db import transaction

    from benchmarks.orders.work import new_order, store_order

    commits: dict[str, float] = {}
    started_at = time.time()
    for number in range(n):
        if rate:
            time.sleep(max(0.0, started_at + number / rate - time.time()))
        order = new_order(number)
        with transaction.atomic():
            if rate:  # first, so that it notes the commit and not what on_commit sends after it
                transaction.on_commit(partial(_note_commit, commits, order["order_id"]))
            store_order(order)
            publish(order)
    return commits


def _note_commit(commits: dict[str, float], order_id: str) -> None:
    commits[order_id] = time.time()


if __name__ == "__main__":
    main()
