"""What every page shows around its content: the rail's counts, the status strip, the banners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest

from console.ui import kept, sample
from messaging.queries import overview
from messaging.queries.consumers import count_backlogs
from messaging.queries.faults import InjectedFaultRow, injected_faults
from messaging.queries.shared import consumer_states


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
    faults: tuple[InjectedFaultRow, ...]
    sample_traffic: bool
    environment: str
    release: str

    @property
    def late(self) -> int:
        """What should have fired by now: scheduled messages and schedules."""
        return self.vitals.scheduled_overdue + self.vitals.schedules_failing


PAUSES_SHOWN = 3
_kept: kept.Kept[Shell] = kept.shell


def shell(request: HttpRequest | None = None) -> Shell:
    """Return a reading at most a second old."""
    return _kept.get(_read)


def forget() -> None:
    """Drop the reading, so that the next page shows what an operator has just changed."""
    _kept.forget()


def _read() -> Shell:
    vitals = overview.vitals()
    return Shell(
        vitals=vitals,
        pauses=_pauses(vitals.paused[:PAUSES_SHOWN]),
        faults=injected_faults(),
        sample_traffic=sample.is_on(),
        environment=settings.ENVIRONMENT_NAME,
        release=settings.RELEASE,
    )


def _pauses(names: tuple[str, ...]) -> tuple[Pause, ...]:
    backlogs = count_backlogs(names) if names else {}
    return tuple(
        Pause(
            name=row.name,
            by=row.paused_by,
            reason=row.pause_reason,
            since=row.paused_at,
            until=row.paused_until,
            backlog=backlogs.get(row.name, 0),
        )
        for row in consumer_states()
        if row.name in names
    )
