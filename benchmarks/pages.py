"""Ask for every page of ``benchmarks.addresses``.

Prints one line of JSON: for each address the median and p95 on the server in milliseconds, its CPU milliseconds, its
queries and the rows that they touch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median
from typing import Any

from benchmarks import touched
from benchmarks.addresses import ADDRESSES, Address, samples
from benchmarks.figures import percentile
from benchmarks.targets import ANSWERED

LONG_ENOUGH_MS = 4_000.0
"""A page that took so long in all is not asked for again: it is too slow anyhow."""

GIVE_UP = "20s"
"""A statement that takes longer is ended, and its page counts as not answered."""


def measure(repeats: int, only: str = "") -> dict[str, dict[str, Any]]:
    """Measure the pages whose name contains ``only``; one that does not answer is told on standard error."""
    from django.db import connection
    from django.test import Client

    from console import web

    web.keep_collections_short()  # as the process that serves pages does
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{GIVE_UP}'")
    client = Client(headers={"host": "localhost"}, raise_request_exception=False)
    client.force_login(_operator(), backend="django.contrib.auth.backends.ModelBackend")
    known = samples()
    found: dict[str, dict[str, Any]] = {}
    for each in ADDRESSES:
        if only in each.name:
            found[each.name] = _ask(client, each, known, repeats)
            print(f"{each.name}: {found[each.name]['p95_ms']} ms", file=sys.stderr, flush=True)
    broken = [f"{name}: {page['status']}" for name, page in found.items() if page["status"] not in ANSWERED]
    if broken:
        print(f"Not answered: {', '.join(broken)}", file=sys.stderr)
    return found


def _operator() -> Any:
    from django.contrib.auth.models import User

    return User.objects.filter(username="benchmark").first() or User.objects.create_superuser("benchmark")


def _ask(client: Any, page: Address, known: dict[str, Any], repeats: int) -> dict[str, Any]:
    address = page.filled(known)
    headers = {"HX-Request": "true", "HX-Target": page.part} if page.part else {}
    times: list[float] = []
    cpu: list[float] = []
    for number in range(repeats + 1):
        if number > 1 and sum(times) > LONG_ENOUGH_MS:
            break
        began, busy = time.perf_counter(), time.process_time()
        client.get(address, headers=headers)
        times.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - busy) * 1000)
    status, statements = _recorded(client, address, headers)
    warm = sorted(times[1:])  # the first compiles the template
    return {
        "address": address,
        "part": page.part,
        "status": status,
        "p50_ms": round(median(warm), 1),
        "p95_ms": round(percentile(warm, 95), 1),
        "cpu_ms": round(median(cpu[1:]), 1),
        "queries": len(statements),
        **(touched.weigh(statements) if status in ANSWERED else {"rows_touched": 0}),
    }


def _recorded(client: Any, address: str, headers: dict[str, str]) -> tuple[int, list[touched.Statement]]:
    from console.ui import context

    context.forget()  # the worst case: this request reads the strip of every page as well
    with touched.recorded() as statements:
        status = client.get(address, headers=headers).status_code
    return status, statements


if __name__ == "__main__":
    import django

    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", default="", help="measure the pages whose name contains this")
    arguments = parser.parse_args()
    django.setup()
    print(json.dumps(measure(arguments.repeats, arguments.only)))
