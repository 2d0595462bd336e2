"""What every page shows around its content: the rail's counts, the status strip, the banners."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest

from messaging import clock
from messaging.queries import consumers, overview

FRESH_FOR = 1.0
"""Seconds that one reading serves every request of this process."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    name: str
    by: str
    reason: str
    since: datetime | None
    until: datetime | None
    backlog: int


@dataclass(frozen=True, kw_only=True)
class Shell:
    vitals: overview.Vitals
    pauses: tuple[Pause, ...]
    sample_traffic: bool
    environment: str
    release: str


_lock = threading.Lock()
_kept: tuple[float, Shell] | None = None


def shell(request: HttpRequest | None = None) -> Shell:
    """Return a reading at most FRESH_FOR seconds old."""
    global _kept
    with _lock:
        if _kept is None or time.monotonic() - _kept[0] > FRESH_FOR:
            _kept = (time.monotonic(), _read())
        return _kept[1]


def forget() -> None:
    """Drop the reading, so that the next page shows what an operator has just changed."""
    global _kept
    with _lock:
        _kept = None


def _read() -> Shell:
    try:
        vitals = overview.vitals()
    except NotImplementedError:  # written at the same time
        vitals = _no_vitals()
    rows = [row for name in vitals.paused[:3] if (row := consumers.get_consumer(name))]
    return Shell(
        vitals=vitals,
        pauses=tuple(
            Pause(
                name=row.name,
                by=row.paused_by,
                reason=row.pause_reason,
                since=row.paused_at,
                until=row.paused_until,
                backlog=row.backlog,
            )
            for row in rows
        ),
        sample_traffic=_sample_traffic(),
        environment=settings.ENVIRONMENT_NAME,
        release=settings.RELEASE,
    )


def _no_vitals() -> overview.Vitals:
    return overview.Vitals(
        as_of=clock.now(), outbox_rows=0, outbox_lag_seconds=0.0, relays_alive=0, workers_alive=0, workers_known=0,
        dead_letters=0, backlog=0, oldest_at=None, paused=(), quarantined=0,
    )  # fmt: skip


def _sample_traffic() -> bool:
    try:
        from console.ui import sample
    except ImportError:  # written at the same time
        return False
    return bool(getattr(sample, "is_on", lambda: False)())
