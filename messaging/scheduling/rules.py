"""When a recurring message is due. Pure: every function takes the times it goes by.

Daylight saving, as cron on Debian does it: a fixed time that the clocks jump over is due when the gap ends, one that
they pass twice is due the first time only. Rules with a star for minutes or hours follow elapsed time instead, so
"every half hour" stays every half hour. Intervals know no zone: they are multiples of themselves since 1970, in UTC.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from messaging.errors import ConfigurationError

GRACE = timedelta(seconds=60)
"""A due time that is later than this has been missed; the policy says what becomes of it."""
LOOKED_AT = 10_000
"""Most due times that are counted after a downtime."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A cron expression in a zone, or an interval in seconds."""

    cron: str = ""
    interval_seconds: int | None = None
    zone: str = "UTC"

    def check(self) -> None:
        """Refuse what can never be due.

        Raises:
            ConfigurationError: the expression, the interval or the zone is wrong.
        """
        if bool(self.cron) == (self.interval_seconds is not None):
            raise ConfigurationError('give cron="0 3 * * *" or every="15m", one of them')
        if self.interval_seconds is not None and self.interval_seconds < 1:
            raise ConfigurationError("every= must be a whole number of seconds, at least one")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(f'zone={self.zone!r} is not known; write "Europe/Berlin"') from error
        if self.cron and len(self.cron.split()) != 5:
            raise ConfigurationError(f'cron={self.cron!r} must have five fields, like "0 3 * * *"')
        try:
            self.next_after(_EPOCH)
        except (CronSimError, StopIteration) as error:
            raise ConfigurationError(f"cron={self.cron!r} is never due: {error}") from error

    def words(self) -> str:
        """Say it in words ("At 03:00 on Monday", "Every 15 min")."""
        if self.interval_seconds is not None:
            size, unit = next(each for each in _UNITS if self.interval_seconds % each[0] == 0)
            return f"Every {self.interval_seconds // size} {unit}"
        return CronSim(self.cron, _EPOCH).explain()

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after ``moment``, in UTC."""
        return next(self.after(moment))

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield every due time after ``moment``, in UTC."""
        if self.interval_seconds is not None:
            step = timedelta(seconds=self.interval_seconds)
            due = _EPOCH + ((moment - _EPOCH) // step + 1) * step
            while True:
                yield due
                due += step
        for local in CronSim(self.cron, moment.astimezone(ZoneInfo(self.zone))):
            due = local.astimezone(UTC)
            if due > moment:  # in the hour that comes twice, local time alone would name times that have passed
                yield due


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do now about a rule that is due."""

    fire: tuple[datetime, ...]
    skipped: int
    next_at: datetime


def plan(rule: Rule, *, due: datetime, now: datetime, missed: str, limit: int) -> Plan:
    """Say which due times from ``due`` (that has come) until ``now`` to fire, and what is due next.

    ``missed`` is the policy for those that are late by more than GRACE: "one" fires the newest of them for all, "skip"
    none, "all" each of the newest ``limit``. Of several due times within GRACE the newest is fired, except with "all".
    """
    times, count = _passed(rule, due, now, keep=limit if missed == "all" else 1)
    fire = times
    if missed == "skip":
        fire = tuple(moment for moment in times if now - moment <= GRACE)
    return Plan(fire=fire, skipped=count - len(fire), next_at=rule.next_after(now))


def _passed(rule: Rule, due: datetime, now: datetime, *, keep: int) -> tuple[tuple[datetime, ...], int]:
    """Return the newest ``keep`` due times until ``now``, and how many there were (LOOKED_AT at most)."""
    newest, count = deque([due], maxlen=keep), 1
    for moment in islice(rule.after(due), LOOKED_AT):
        if moment > now:
            return tuple(newest), count
        newest.append(moment)
        count += 1
    back = _looking_back(rule, now, keep)
    return tuple(sorted(back)), LOOKED_AT


def _looking_back(rule: Rule, now: datetime, keep: int) -> list[datetime]:
    if rule.interval_seconds is not None:
        step = timedelta(seconds=rule.interval_seconds)
        last = rule.next_after(now) - step
        return [last - number * step for number in range(keep)]
    start = now.replace(microsecond=0) + timedelta(seconds=1)  # it yields what lies before its start only
    backwards = CronSim(rule.cron, start.astimezone(ZoneInfo(rule.zone)), reverse=True)
    return [moment.astimezone(UTC) for moment in islice(backwards, keep)]
