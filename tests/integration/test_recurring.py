"""Recurring schedules: each due time once, whatever relays, deploys and operators do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection

from messaging import recurring
from messaging.database import store
from messaging.models import Message, Schedule, ScheduleFiring
from messaging.relay import Relay
from messaging.scheduling import firing
from messaging.scheduling.recurring import Recurrence, forget_schedule
from messaging.scheduling.rules import plan
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import Station, TrainArrived, elsewhere, ledger, trains_of

pytestmark = pytest.mark.django_db(transaction=True)
NIGHT = "station.night"


@pytest.fixture
def declare() -> Iterator[Callable[..., Recurrence]]:
    """Declare schedules for one test and deploy them."""
    names: set[str] = set()

    def declare(message: Any = None, *, name: str = NIGHT, **rule: Any) -> Recurrence:
        names.add(name)
        declared = recurring(name, message or TrainArrived(train="NJ 1"), **(rule or {"every": "1h"}))
        synchronise_schedules(is_deploy=True)
        return declared

    yield declare
    for name in names:
        forget_schedule(name)


def row(name: str = NIGHT) -> Schedule:
    return Schedule.objects.get(name=name)


def set_back(*, hours: float = 0, seconds: float = 0, name: str = NIGHT) -> datetime:
    """Let the next due time have been so long ago: as if nothing had run since."""
    found = row(name)
    assert found.next_at is not None
    step = timedelta(seconds=found.interval_seconds or 3600)
    earlier = found.next_at - step * (1 + hours) - timedelta(seconds=seconds)
    Schedule.objects.filter(name=name).update(next_at=earlier)
    return earlier


class TestSchedule:
    def test_publishes_its_message_when_due_and_not_before(
        self, station: Station, declare: Callable[..., Recurrence]
    ) -> None:
        station.declare()
        declare()
        assert firing.fire_due() == 0
        due = set_back()
        Relay().step()
        run_until_idle()
        assert ledger() == ["NJ 1"]
        found = row()
        assert found.next_at is not None
        assert (found.last_due_at, found.fired) == (due, 1)
        assert found.next_at > store().now()
        assert verify().is_sound

    def test_begins_a_flow_and_a_trace_of_its_own_that_name_the_schedule(
        self, station: Station, declare: Callable[..., Recurrence]
    ) -> None:
        declare(every="1h", missed="all")
        due = set_back(hours=1)
        firing.fire_due()
        first, second = Message.objects.order_by("id")
        assert (first.headers["schedule"], first.headers["schedule-due"]) == (NIGHT, due.isoformat())
        assert (first.correlation_id, first.causation_id, first.occurred_at) == (str(first.id), None, due)
        assert first.traceparent[3:35] != second.traceparent[3:35]

    def test_makes_its_message_of_the_due_time(self, declare: Callable[..., Recurrence]) -> None:
        declare(lambda due: TrainArrived(train=f"NJ {due:%H:%M}"), every="1h")
        due = set_back()
        firing.fire_due()
        assert trains_of(TrainArrived.contract_name) == [f"NJ {due:%H:%M}"]

    def test_fires_each_due_time_once_however_many_relays_look(self, declare: Callable[..., Recurrence]) -> None:
        declare(every="1s", missed="all", missed_limit=1000)

        def look_for_a_while() -> int:
            return sum(firing.fire_due() for _ in range(40))

        set_back(hours=30)
        counts = [each.result(timeout=60) for each in [elsewhere(look_for_a_while) for _ in range(3)]]
        fired = list(ScheduleFiring.objects.order_by("due_at").values_list("due_at", flat=True))
        assert sum(counts) == len(fired) == Message.objects.count()
        assert len(fired) >= 30
        assert {later - earlier for earlier, later in pairwise(fired)} == {timedelta(seconds=1)}

    def test_is_held_for_the_relay_that_moved_it_first(
        self, declare: Callable[..., Recurrence], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two relays read the same due time; the second one's compare-and-set finds it moved."""
        declared = declare()
        set_back(hours=3)
        as_planned = plan

        def while_another_relay_fires(*arguments: Any, **named: Any) -> Any:
            monkeypatch.setattr(firing, "plan", as_planned)
            if connection.vendor == "postgresql":
                assert elsewhere(firing.fire_due).result(timeout=30) == 1
            else:  # one writer at a time: the other one was just before this transaction
                assert firing.fire(declared) == 1
            return as_planned(*arguments, **named)

        monkeypatch.setattr(firing, "plan", while_another_relay_fires)
        assert firing.fire(declared) == 0
        assert (Message.objects.count(), row().skipped) == (1, 3)

    def test_does_not_fire_a_due_time_again_when_its_row_is_set_back(self, declare: Callable[..., Recurrence]) -> None:
        declare()
        due = set_back()
        assert firing.fire_due() == 1
        Schedule.objects.update(next_at=due)
        assert firing.fire_due() == 0
        assert Message.objects.count() == 1

    def test_rolls_back_whole_when_its_message_cannot_be_made_and_tries_again_later(
        self, declare: Callable[..., Recurrence]
    ) -> None:
        failures = [RuntimeError("no timetable")]

        def night(due: datetime) -> TrainArrived:
            if failures:
                raise failures.pop()
            return TrainArrived(train="NJ 1")

        declare(night, every="1h")
        due = set_back()
        assert firing.fire_due() == 0
        found = row()
        assert found.retry_at is not None
        assert (found.next_at, found.failures, found.last_error) == (due, 1, "RuntimeError: no timetable")
        assert firing.fire_due() == 0  # not at once
        Schedule.objects.update(retry_at=store().now())
        assert firing.fire_due() == 1
        assert (row().last_due_at, row().failures, row().last_error) == (due, 0, "")

    def test_of_another_service_is_left_to_it(self, declare: Callable[..., Recurrence]) -> None:
        declare()
        set_back()
        forget_schedule(NIGHT)
        assert firing.fire_due() == 0
        assert row().fired == 0


class TestMissedDueTimes:
    @pytest.mark.parametrize(("missed", "fired"), [("one", 1), ("skip", 0), ("all", 3)])
    def test_follow_the_declared_policy_after_a_downtime(
        self, declare: Callable[..., Recurrence], missed: str, fired: int
    ) -> None:
        declare(every="1h", missed=missed, missed_limit=3)
        Schedule.objects.update(next_at=store().now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=9))
        if store().now().minute == 0:
            Schedule.objects.update(missed=missed)  # within the grace of the full hour, "skip" fires that one
            fired = max(fired, 1)
        assert firing.fire_due() == fired
        found = row()
        assert found.skipped == 10 - fired
        assert firing.fire_due() == 0


class TestDeploy:
    def test_changes_the_rule_and_the_next_due_time(self, declare: Callable[..., Recurrence]) -> None:
        declare(every="1h")
        declare(cron="0 3 * * *", zone="Europe/Berlin")
        found = row()
        assert found.next_at is not None
        assert (found.cron, found.interval_seconds, found.zone) == ("0 3 * * *", None, "Europe/Berlin")
        assert found.next_at.minute == 0

    def test_keeps_the_due_time_of_a_rule_that_stays(self, declare: Callable[..., Recurrence]) -> None:
        declare()
        due = set_back()
        declare()
        assert row().next_at == due

    def test_retires_what_is_gone_and_a_later_one_brings_it_back(self, declare: Callable[..., Recurrence]) -> None:
        declared = declare()
        forget_schedule(NIGHT)
        synchronise_schedules(is_deploy=True)
        assert row().retired_at is not None
        set_due = Schedule.objects.update(next_at=store().now())
        assert (set_due, firing.fire_due()) == (1, 0)
        recurring(NIGHT, declared.make, every="1h")
        synchronise_schedules(is_deploy=True)
        found = row()
        assert found.next_at is not None
        assert (found.retired_at, found.next_at > store().now()) == (None, True)

    def test_leaves_the_schedules_of_another_service_alone(self, declare: Callable[..., Recurrence]) -> None:
        declare()
        Schedule.objects.update(source="another")
        forget_schedule(NIGHT)
        synchronise_schedules(is_deploy=True)
        assert row().retired_at is None

    def test_is_not_undone_by_a_relay_of_the_release_before(self, declare: Callable[..., Recurrence]) -> None:
        declare(cron="0 3 * * *")
        recurring(NIGHT, TrainArrived(train="NJ 1"), every="1h")
        synchronise_schedules()
        assert row().cron == "0 3 * * *"
