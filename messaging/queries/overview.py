"""The state of the whole bus in few queries: for the status strip, the overview, /stats, /readyz and /metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    name: str
    role: str
    host: str
    pid: int
    release: str
    started_at: datetime
    heartbeat_at: datetime
    is_alive: bool


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """What the status strip shows."""

    as_of: datetime
    outbox_rows: int
    outbox_lag_seconds: float
    """Age of the oldest row the relay has not fanned out, 0 when there is none."""
    relays_alive: int
    workers_alive: int
    workers_known: int
    dead_letters: int
    """Unresolved."""
    backlog: int
    oldest_at: datetime | None
    paused: tuple[str, ...]
    quarantined: int
    """Open in quarantine or parked."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Per minute, oldest first, one entry a minute, all lists of equal length."""

    minutes: tuple[datetime, ...]
    handled: tuple[int, ...]
    dead_lettered: tuple[int, ...]
    will_retry: tuple[int, ...]
    critical_p50_ms: tuple[float | None, ...]
    critical_p95_ms: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class TotalRow:
    consumer: str
    outcome: str
    count: int
    duration_us: int
    critical_us: int
    buckets: dict[str, int]


def vitals() -> Vitals:
    raise NotImplementedError


def series(*, minutes: int = 60, consumer: str = "") -> Series:
    raise NotImplementedError


def totals() -> list[TotalRow]:
    """Outcomes since the beginning, deltas that are not folded yet included."""
    raise NotImplementedError


def workers() -> list[WorkerRow]:
    raise NotImplementedError
