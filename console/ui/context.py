"""What every page shows around its content: the rail's counts, the status strip, the banners."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest

from console.ui import kept, sample
from messaging.queries import overview
from messaging.queries.faults import InjectedFaultRow, injected_faults


@dataclass(frozen=True, kw_only=True)
class Shell:
    vitals: overview.Vitals
    pauses: tuple[overview.Pause, ...]
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
        pauses=vitals.pauses[:PAUSES_SHOWN],
        faults=injected_faults(),
        sample_traffic=sample.is_on(),
        environment=settings.ENVIRONMENT_NAME,
        release=settings.RELEASE,
    )
