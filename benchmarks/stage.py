"""One run of one system: a fresh database, its processes, and what can be observed from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.findings import ROOT
from benchmarks.servers import Servers, environment
from benchmarks.systems import System

PATIENCE, SLOWEST = 180.0, 20.0
"""Seconds that a few orders may take, and the slowest rate that many are waited for, in orders a second."""


def patience(n: int) -> float:
    """Return the longest time that placing or handling so many orders may take, in seconds."""
    return max(PATIENCE, n / SLOWEST)


class Stuck(Exception):
    """A system did not get as far as the measure needs."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment: reservations, CPU seconds of consumers and of PostgreSQL, commits, bytes of WAL."""

    count: int
    cpu: float
    database_cpu: float
    commits: int
    wal: int


@dataclass(frozen=True, slots=True)
class Span:
    """When handlers wrote their first and last row, and how many after the first moment.

    What a batch wrote at the first moment is no work of the time that follows.
    """

    first: float
    last: float
    count: int

    @property
    def rate(self) -> float:
        """Rows a second; 0 when all were written at one moment."""
        return self.count / (self.last - self.first) if self.count else 0.0


class Stage:
    """Everything one run has started. Use ``open_stage``."""

    def __init__(self, servers: Servers, system: System, *, database: str, handler: str, log: Path) -> None:
        self.system = system
        self._servers = servers
        self._log = log
        self._processes: list[subprocess.Popen[bytes]] = []
        self.samples: list[float] = []
        """What a measure has to say about single events, beside its figures."""
        self.environment = environment(servers, system, database=database, handler=handler)
        self.connection = psycopg.connect(servers.database_url(database), autocommit=True)

    def start_consumers(self) -> None:
        # As the bus's worker does by itself: statements of handlers prepared on the server, and planned for memory.
        role = {} if self.system.is_bus else {"SIGNALBOX_ROLE": "worker"}
        for command in self.system.commands:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    command, cwd=ROOT, env={**self.environment, **role}, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, start_new_session=True,
                )  # fmt: skip
            self._processes.append(process)

    def kill_consumers(self) -> None:
        """kill -9 every process group that this stage started."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def produce(self, n: int, *, rate: float | None = None, commits: Path | None = None) -> dict[str, float]:
        """Run one producer to its end and return what it reports."""
        return _report_of(self.producer(n, rate=rate, commits=commits), n)

    def produce_in_parallel(self, n: int, producers: int) -> dict[str, float]:
        """Run several producers that start together; ``n`` is their sum."""
        started = [self.producer(n // producers, wait=True) for _ in range(producers)]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        reports = [_report_of(process, n) for process in started]
        first, last = min(one["started_at"] for one in reports), max(one["ended_at"] for one in reports)
        return {"started_at": first, "ended_at": last, "rate": n / (last - first)}

    def producer(
        self, n: int, *, rate: float | None = None, commits: Path | None = None, wait: bool = False
    ) -> subprocess.Popen[str]:
        """Start one producer, at ``rate`` orders a second or as fast as it can."""
        command = [self.system.python, "-m", "benchmarks.produce", "--publisher", self.system.publisher, "--n", str(n)]
        command += ["--rate", str(rate)] if rate else []
        command += ["--commits", str(commits)] if commits else []
        command += ["--wait"] if wait else []
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True,
            )  # fmt: skip

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command of the system's interpreter beside everything else; the caller waits for it."""
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self.system.python, *command], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip

    def read(self) -> Reading:
        """Read all counters, the count last, so that none of its work is missing from the others."""
        cpu, database_cpu = self._cpu_of_consumers(), cpu_of(self._servers.postgresql)
        row = self.row(
            "SELECT sum(xact_commit)::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
            " FROM pg_stat_database WHERE datname = current_database()"
        )
        return Reading(self.count(), cpu, database_cpu, int(row[0]), int(row[1]))

    def _cpu_of_consumers(self) -> float:
        return sum(cpu_of(psutil.Process(process.pid)) for process in self._processes if process.poll() is None)

    def processes(self) -> list[psutil.Process]:
        """Return what was started, in the order of the system's commands."""
        return [psutil.Process(process.pid) for process in self._processes]

    def memory(self) -> float:
        """Return what the processes hold for themselves alone, in megabytes."""
        roots = [psutil.Process(process.pid) for process in self._processes if process.poll() is None]
        every = [one for root in roots for one in (root, *root.children(recursive=True))]
        return sum(one.memory_full_info().uss for one in every) / 1_000_000

    def rows(self) -> int:
        """Count the rows of all tables but the application's own."""
        tables = self.connection.execute(
            "SELECT relid::regclass::text FROM pg_stat_user_tables WHERE relname NOT IN ('orders', 'reservations')"
        ).fetchall()
        return sum(int(self.row(f"SELECT count(*) FROM ONLY {table}")[0]) for (table,) in tables)

    def count(self) -> int:
        return int(self.row("SELECT count(*) FROM reservations")[0])

    def wait_for(self, count: int, *, every: float = 0.05, stuck_after: float = 30.0) -> Iterator[Reading]:
        """Yield readings until ``count`` reservations exist.

        Raises:
            Stuck: nothing moved for ``stuck_after`` seconds.
        """
        seen, moved_at, end = -1, time.monotonic(), time.monotonic() + patience(count)
        while True:
            reading = self.read()
            yield reading
            if reading.count >= count:
                return
            if reading.count != seen:
                seen, moved_at = reading.count, time.monotonic()
            if time.monotonic() - moved_at > stuck_after or time.monotonic() > end:
                raise Stuck(f"{self.system.name}: {reading.count} of {count} reservations, see {self._log.name}")
            time.sleep(every)

    def span(self) -> Span:
        """Return when handlers were at work, those of further consumers too."""
        first, last, count = self.row(
            "WITH written AS (SELECT created_at FROM reservations UNION ALL SELECT created_at FROM notices)"
            " SELECT extract(epoch FROM min(created_at)), extract(epoch FROM max(created_at)),"
            " count(*) FILTER (WHERE created_at > (SELECT min(created_at) FROM written)) FROM written"
        )
        return Span(float(first), float(last), int(count))

    def reserved_at(self) -> dict[str, float]:
        rows = self.connection.execute("SELECT order_id::text, extract(epoch FROM created_at)::float FROM reservations")
        return dict(rows.fetchall())

    def missing_and_duplicated(self) -> tuple[int, int]:
        """Count orders without a reservation, and reservations made more than once."""
        row = self.row(
            "SELECT count(*) FILTER (WHERE r.order_id IS NULL), coalesce(sum(r.runs - 1), 0)"
            " FROM orders o LEFT JOIN reservations r ON r.order_id = o.id"
        )
        return int(row[0]), int(row[1])

    def row(self, query: str, *parameters: Any) -> tuple[Any, ...]:
        row = self.connection.execute(query.encode(), parameters or None).fetchone()
        assert row is not None
        return row


@contextmanager
def open_stage(servers: Servers, system: System, *, template: str, handler: str) -> Iterator[Stage]:
    """Set up a run on a copy of the system's template database, and take everything down after it."""
    database = "run"
    servers.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    servers.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
    servers.flush_redis()
    if system.before_each:
        given = environment(servers, system, database=database, handler=handler)
        subprocess.run(system.before_each, cwd=ROOT, env=given, check=True)
    stage = Stage(servers, system, database=database, handler=handler, log=servers.directory / f"{system.name}.log")
    try:
        yield stage
    finally:
        stage.kill_consumers()
        stage.connection.close()


def _report_of(process: subprocess.Popen[str], n: int) -> dict[str, float]:
    try:
        output, _ = process.communicate(timeout=patience(n))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Stuck(f"the producer did not end within {patience(n):.0f} s") from None
    if process.returncode:
        raise Stuck(f"the producer ended with status {process.returncode}")
    report: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return report


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, of its children, and of those it has buried already."""
    total = 0.0
    try:
        for one in [process, *process.children(recursive=True)]:
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return total
