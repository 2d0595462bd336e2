"""Ask for every list, search, group and detail page of the console, and for its API twin.

Prints one line of JSON: for each address the median and p95 on the server in milliseconds, its CPU milliseconds and
its queries.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any


def addresses() -> dict[str, str]:
    """Return the pages by what a person calls them. Needs a database with history."""
    from messaging.models import DeadLetter, Message

    message = Message.objects.order_by("-id")[:1].get().id
    dead = DeadLetter.objects.order_by("-id")[:1].get()
    api = "/api/v1"
    return {
        "overview": "/",
        "messages": "/messages",
        "messages of a type": "/messages?type=benchmarks.OrderPlaced",
        "messages, search by id": f"/messages?q={message}",
        "message": f"/messages/{message}",
        "dead letters, groups": "/dead-letters",
        "dead letters, a group": f"/dead-letters/{dead.fingerprint}",
        "dead letter": f"/dead-letters/one/{dead.id}",
        "consumers": "/consumers",
        "consumer": "/consumers/orders.reserve",
        "scheduled": "/scheduled",
        "outbox": "/outbox",
        "quarantine": "/quarantine",
        "audit": "/audit",
        "API stats": f"{api}/stats",
        "API messages": f"{api}/messages",
        "API messages of a type": f"{api}/messages?type=benchmarks.OrderPlaced",
        "API message": f"{api}/messages/{message}",
        "API dead letters": f"{api}/dead-letters",
        "API dead letter": f"{api}/dead-letters/{dead.id}",
        "API consumers": f"{api}/consumers",
    }


def measure(repeats: int) -> dict[str, dict[str, Any]]:
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(_operator(), backend="django.contrib.auth.backends.ModelBackend")
    return {name: _ask(client, address, repeats) for name, address in addresses().items()}


def _operator() -> Any:
    from django.contrib.auth.models import User

    return User.objects.create_superuser("benchmark")


def _ask(client: Any, address: str, repeats: int) -> dict[str, Any]:
    from django.db import connection

    queries: list[int] = []
    times: list[float] = []
    cpu: list[float] = []
    status = 0
    for _ in range(repeats + 1):
        count = [0]
        began, busy = time.perf_counter(), time.process_time()
        with connection.execute_wrapper(_counting(count)):
            status = client.get(address).status_code
        times.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - busy) * 1000)
        queries.append(count[0])
    warm = sorted(times[1:])  # the first compiles the template
    return {
        "address": address,
        "status": status,
        "p50_ms": median(warm),
        "p95_ms": warm[min(len(warm) - 1, len(warm) * 95 // 100)],
        "cpu_ms": median(cpu[1:]),
        "queries": max(queries[1:]),
    }


def _counting(count: list[int]) -> Callable[..., Any]:
    def wrapper(execute: Callable[..., Any], *given: Any) -> Any:
        count[0] += 1
        return execute(*given)

    return wrapper


if __name__ == "__main__":
    import django

    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    django.setup()
    print(json.dumps(measure(arguments.repeats)))
