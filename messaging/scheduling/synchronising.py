"""Write the schedules of this release into the database."""

from __future__ import annotations

from datetime import datetime

from messaging import failpoints
from messaging.database import store
from messaging.models import Schedule
from messaging.scheduling.recurring import Recurrence, all_schedules
from messaging.scheduling.rules import Rule
from messaging.settings import options


def synchronise_schedules(*, is_deploy: bool = False) -> int:
    """Add the schedules registered here; return how many there are.

    Only a deploy changes rules and retires what this service no longer declares: a relay of the release before,
    starting again, must not bring its own rules back. A rule that stays keeps its next due time, so that a deploy
    misses none.
    """
    declared = all_schedules()
    with failpoints.atomic("synchronise_schedules"):
        now = store().now()
        for each in declared:
            _synchronise_one(each, now, is_deploy=is_deploy)
        if is_deploy:
            gone = Schedule.objects.filter(source=options().source, retired_at=None)
            gone.exclude(name__in=[each.name for each in declared]).update(retired_at=now, next_at=None)
    return len(declared)


def _synchronise_one(declared: Recurrence, now: datetime, *, is_deploy: bool) -> None:
    rule = declared.rule
    definition = {
        "source": options().source, "type": declared.type, "cron": rule.cron,
        "interval_seconds": rule.interval_seconds, "zone": rule.zone, "missed": declared.missed,
        "missed_limit": declared.missed_limit, "description": declared.description, "declared_in": declared.declared_in,
        "synced_at": now,
    }  # fmt: skip
    row, is_new = Schedule.objects.get_or_create(
        name=declared.name, defaults={**definition, "next_at": rule.next_after(now)}
    )
    if is_new or not is_deploy:
        return
    changes = dict(definition)
    if rule_of(row) != rule or row.retired_at is not None:
        changes |= {"next_at": rule.next_after(now), "retry_at": None, "failures": 0, "last_error": ""}
    Schedule.objects.filter(name=declared.name).update(**changes, retired_at=None)


def rule_of(row: Schedule) -> Rule:
    """Return a schedule's rule as it stands in the database: that one is followed, whatever release looks at it."""
    return Rule(cron=row.cron, interval_seconds=row.interval_seconds, zone=row.zone)
