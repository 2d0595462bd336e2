"""``python -m benchmarks.livefeed``: the console with many browsers open while a thousand events a second are handled.

Every role runs as in production, on private servers. Simulated browsers (benchmarks.browsing) hold a page each, hear
its hints and read its parts again, as live.js and htmx do. Writes benchmarks/livefeed.json. The status is 1 when an
event was lost or handled twice, or when a browser was disconnected or got an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import time
import urllib.request
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import psutil

from benchmarks import findings, servers, steps, watched
from benchmarks.browsing import Browser, Tally
from benchmarks.figures import percentile
from benchmarks.servers import Servers
from benchmarks.stage import Stage, Stuck, cpu_of, open_stage
from benchmarks.systems import SYSTEMS, System
from tests.servers import free_port

PAGES = (
    "/", "/messages", "/consumers", "/consumers/orders.reserve", "/dead-letters", "/traces", "/outbox", "/scheduled",
)  # fmt: skip
"""What operators have open, in turn."""
ROLES = ("relay", "worker", "web", "scheduler")
WARM = 200
"""Orders that are handled before, so that the pages have rows."""
QUIET = 4.0
"""Seconds between the last browser's arrival and the load."""
START_SECONDS = 60.0
LATE_EVERY = 0.1
"""How often the browsers' own lateness is read, in seconds."""


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    running = servers.start()
    template = steps.make_template(running)
    port = free_port()
    with open_stage(running, _system(port), template=template, handler="insert") as stage:
        sessions = json.loads(steps.inside(running, str(arguments.browsers), module="benchmarks.sessions"))
        stage.produce(WARM)
        stage.start_consumers()
        address = f"http://127.0.0.1:{port}"
        _wait_for_web(address)
        for _ in stage.wait_for(WARM):
            pass
        measured = asyncio.run(
            _watch(running, stage, address, sessions, rate=arguments.rate, seconds=arguments.seconds)
        )
        found = _rounded({
            **findings.conditions(),
            "cores": os.cpu_count(),
            "browsers": arguments.browsers,
            "rate": arguments.rate,
            "seconds": arguments.seconds,
            **measured,
            **_drained(stage, WARM + measured["published"]),
        })  # fmt: skip
    if arguments.output:
        findings.write(arguments.output, found)
    print(json.dumps(found, indent=1))
    return int(not watched.is_sound(found))


def _system(port: int) -> System:
    python = sys.executable
    bus = SYSTEMS["bus"]
    web, scheduler = (python, "manage.py", "web", "--port", str(port)), (python, "manage.py", "scheduler")
    return replace(bus, commands=(*bus.commands, web, scheduler))


def _wait_for_web(address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{address}/healthz"):  # noqa: S310  our own, on loopback
            return
        time.sleep(0.1)
    raise Stuck(f"web does not answer at {address}")


async def _watch(
    running: Servers, stage: Stage, address: str, sessions: list[str], *, rate: float, seconds: float
) -> dict[str, Any]:
    """Open the browsers, load the bus, and return what was seen in between."""
    tally, tls = Tally(), ssl.create_default_context()
    pages = islice(cycle(PAGES), len(sessions))
    browsers = [
        Browser(address, page, session=session, tally=tally, tls=tls)
        for page, session in zip(pages, sessions, strict=True)
    ]
    for browser in browsers:
        await browser.open()
    producer = await _Producer.ready(stage, rate=rate, seconds=seconds)
    await asyncio.sleep(QUIET)
    processes = dict(zip(ROLES, stage.processes(), strict=True)) | {
        "PostgreSQL": running.postgresql,
        "browsers": psutil.Process(),
    }
    web = processes["web"]
    memory, cpu, count = _memory(web), _cpu(processes), stage.count()
    lateness: list[float] = []
    clock = asyncio.create_task(_keep_lateness(lateness))
    tally.is_counting, began = True, time.monotonic()
    produced = await producer.produce()
    tally.is_counting, took = False, time.monotonic() - began
    handled, cpu_after = stage.count() - count, _cpu(processes)
    clock.cancel()
    memory_after = _memory(web)
    await asyncio.sleep(1.0)  # what was told last may still be on its way
    for browser in browsers:
        await browser.close()
    await producer.end()
    load = produced["ended_at"] - produced["started_at"]
    return {
        "published": produced["published"],
        "published_per_second": produced["published"] / load,
        "handled_per_second": handled / took,
        "backlog": produced["published"] - handled,
        "hints_per_browser_per_second": tally.hints / len(browsers) / took,
        "gaps": tally.gaps,
        "hint_ms": spread(_delays(produced["marks"], tally.heard)),
        "marks_heard": _share_heard(produced["marks"], tally.heard, len(browsers)),
        "fetches_per_second": len(tally.fetches) / took,
        "fetch_ms": spread([length for _, length in tally.fetches]),
        "parts": _by_part(tally.fetches, took),
        "browsers_late_ms": spread(lateness),
        "disconnects": tally.disconnects,
        "errors": dict(tally.errors.most_common()),
        "cpu_per_second": {
            **{name: (cpu_after[name] - cpu[name]) / took for name in processes},
            "producer": produced["cpu"] / load,
        },
        "web_mb": {"start": memory, "end": memory_after},
    }


class _Producer:
    """A process that publishes at a rate, once it is told to start."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def ready(cls, stage: Stage, *, rate: float, seconds: float) -> _Producer:
        command = (sys.executable, "-m", "benchmarks.produce_steadily", "--rate", str(rate), "--seconds", str(seconds))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, cwd=findings.ROOT, env=stage.environment, stdin=pipe, stdout=pipe
        )
        producer = cls(process)
        await producer._line()
        return producer

    async def produce(self) -> dict[str, Any]:
        """Return what it reports, as soon as it does."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        report: dict[str, Any] = json.loads(await self._line())
        return report

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise Stuck(f"the producer ended with status {await self._process.wait()}")
        return line

    async def end(self) -> None:
        await self._process.wait()


async def _keep_lateness(lateness: list[float]) -> None:
    """Note how late this process itself is, in milliseconds: what it adds to each figure at most."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + LATE_EVERY
        await asyncio.sleep(LATE_EVERY)
        lateness.append((clock() - due) * 1000)


def _delays(marks: list[tuple[str, float]], heard: list[tuple[str, float]]) -> list[float]:
    """Return how long each browser waited for each change that the producer told, in milliseconds."""
    times: dict[str, list[float]] = {}
    for topic, at in marks:
        times.setdefault(topic, []).append(at)
    found = []
    for topic, at in heard:
        if place := bisect_right(times.get(topic, []), at):
            found.append((at - times[topic][place - 1]) * 1000)
    return found


def _share_heard(marks: list[tuple[str, float]], heard: list[tuple[str, float]], browsers: int) -> float:
    names = {topic for topic, _ in marks}
    return sum(topic in names for topic, _ in heard) / (len(marks) * browsers)


def _by_part(fetches: list[tuple[str, float]], seconds: float) -> dict[str, dict[str, float]]:
    lengths: dict[str, list[float]] = {}
    for part, length in fetches:
        lengths.setdefault(part, []).append(length)
    return {part: {"per_second": len(of) / seconds, **spread(of)} for part, of in sorted(lengths.items())}


def spread(values: list[float]) -> dict[str, float]:
    """Return the percentiles that the report shows; nothing without values."""
    ordered = sorted(values)
    return {f"p{part}": percentile(ordered, part) for part in (50, 95, 99) if ordered}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def _cpu(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: _own_cpu(one) if name == "browsers" else cpu_of(one) for name, one in processes.items()}


def _own_cpu(process: psutil.Process) -> float:
    times = process.cpu_times()  # without its children: they are the servers and the roles
    return times.user + times.system


def _memory(process: psutil.Process) -> float:
    """Return what the process holds for itself alone, in megabytes."""
    return float(process.memory_full_info().uss) / 1_000_000


def _drained(stage: Stage, expected: int) -> dict[str, Any]:
    """Wait until all is handled, and count."""
    began, error = time.monotonic(), ""
    try:
        for _ in stage.wait_for(expected):
            pass
    except Stuck as reason:
        error = str(reason)
    missing, duplicated = stage.missing_and_duplicated()
    return {
        "drained_in_seconds": time.monotonic() - began,
        "missing": missing,
        "duplicated": duplicated,
        "error": error,
    }


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = findings.parser("livefeed", __doc__)
    parser.add_argument("--browsers", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--dry", action="store_const", const=None, dest="output", help="print only, write no file")
    arguments = parser.parse_args(given)
    for name in ("browsers", "rate", "seconds"):
        if not 1 <= getattr(arguments, name) < float("inf"):
            parser.error(f"--{name} must be 1 or more")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
