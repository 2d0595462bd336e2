"""The harness for users' own tests: real tables, real relay and workers, a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from messaging import Context, PermanentError, Rate, Retry, RetryLater, clock, publish, recurring
from messaging.models import Attempt, Delivery, Message, Subscription, Worker
from messaging.scheduling.recurring import forget_schedule
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.testing import Harness, harness
from tests.factories import ANNOUNCE, CLEAN, DoorsOpened, Station, TrainArrived, announce, ledger, write

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SLOWLY = Retry(immediate=0, delays=("10s", "5m"))


def open_doors(event: TrainArrived, context: Context) -> None:
    write(event.train)
    publish(DoorsOpened(train=event.train))


def refuse(event: TrainArrived, context: Context) -> None:
    raise PermanentError(f"no platform for {event.train}")


@pytest.fixture(params=[False, True], ids=["db", "transactional_db"])
def bus(request: pytest.FixtureRequest, station: Station) -> Any:
    request.getfixturevalue("transactional_db" if request.param else "db")
    with harness() as running:
        yield running


class TestHarness:
    def test_delivers_what_was_published_and_what_followed(self, bus: Harness, station: Station) -> None:
        station.declare(open_doors)
        station.declare(lambda event, context: write(f"doors of {event.train}"), to=DoorsOpened, name=CLEAN)
        bus.publish(TrainArrived(train="ICE 1"), key="platform 7")
        assert bus.run() == 2
        assert ledger() == ["ICE 1", "doors of ICE 1"]
        assert bus.published(DoorsOpened, times=1) == [DoorsOpened(train="ICE 1")]
        assert bus.consumed(TrainArrived, by=open_doors)[0].train == "ICE 1"
        [arrival], [opened] = bus.messages(TrainArrived), bus.messages(DoorsOpened)
        assert (arrival.key, opened.causation_id) == ("platform 7", str(arrival.id))

    def test_delivers_what_the_code_under_test_published_itself(self, bus: Harness, station: Station) -> None:
        station.declare()
        with transaction.atomic():
            publish(TrainArrived(train="ICE 1"))
        bus.run()
        bus.consumed(TrainArrived, by=ANNOUNCE, train="ICE 1")

    def test_rolls_a_failing_handler_back(self, bus: Harness, station: Station) -> None:
        def half(event: TrainArrived, context: Context) -> None:
            open_doors(event, context)
            raise PermanentError("after all its work")

        station.declare(half)
        bus.publish(TrainArrived(train="ICE 1"))
        bus.run()
        assert ledger() == []
        bus.published(DoorsOpened, times=0)
        [letter] = bus.dead_lettered(TrainArrived, by=ANNOUNCE, reason="permanent", error=PermanentError)
        assert letter.error_message == "after all its work"

    def test_runs_what_a_handler_left_for_its_commit(self, bus: Harness, station: Station) -> None:
        done: list[str] = []

        def handler(event: TrainArrived, context: Context) -> None:
            transaction.on_commit(lambda: done.append(event.train))
            if event.train == "ICE 13":
                raise PermanentError

        station.declare(handler)
        for train in ("ICE 1", "ICE 13"):
            bus.publish(TrainArrived(train=train))
        bus.run()
        assert done == ["ICE 1"]

    def test_asks_for_the_end_of_what_never_ends(self, bus: Harness, station: Station, monkeypatch: Any) -> None:
        monkeypatch.setattr("messaging.testing.driving.ROUNDS", 20)
        station.declare(lambda event, context: publish(TrainArrived(train=event.train)))
        bus.publish(TrainArrived(train="ICE 1"))
        with pytest.raises(AssertionError, match="a handler keeps publishing"):
            bus.run()


class TestVirtualClock:
    def test_runs_each_retry_at_its_moment(self, bus: Harness, station: Station) -> None:
        tries: list[timedelta] = []
        start = bus.now

        def handler(event: TrainArrived, context: Context) -> None:
            tries.append(timezone.now() - start)
            raise ValueError

        station.declare(handler, retry=SLOWLY)
        bus.publish(TrainArrived(train="ICE 1"))
        bus.run()
        bus.retrying(TrainArrived, by=ANNOUNCE, times=1)
        bus.advance("9s")
        assert tries == [timedelta(0)]
        bus.advance("1h")
        assert tries == [timedelta(0), timedelta(seconds=10), timedelta(seconds=310)]
        bus.dead_lettered(TrainArrived, reason="exhausted", error=ValueError, times=1)
        assert bus.now == start + timedelta(seconds=3609)

    def test_lets_what_comes_due_run_in_the_order_of_time(self, bus: Harness, station: Station) -> None:
        order: list[str] = []
        waits = {"ICE 3": 30, "ICE 1": 10, "ICE 2": 20}

        def handler(event: TrainArrived, context: Context) -> None:
            if timezone.now() < context.published_at + timedelta(seconds=waits[event.train]):
                raise RetryLater(after=waits[event.train])
            order.append(event.train)

        station.declare(handler)
        for train in waits:
            bus.publish(TrainArrived(train=train))
        bus.advance("1m")
        assert order == ["ICE 1", "ICE 2", "ICE 3"]

    def test_is_the_clock_of_every_row(self, station: Station, db: None) -> None:
        station.declare(lambda event, context: (_ for _ in ()).throw(ValueError()), retry=SLOWLY)
        with harness(at=START) as bus:
            assert bus.run() == 0
            bus.publish(TrainArrived(train="ICE 1"))
            bus.advance("10s")
            assert Message.objects.get().published_at == START
            assert [a.started_at for a in Attempt.objects.order_by("id")] == [START, START + timedelta(seconds=10)]
            assert Delivery.objects.get().available_at == START + timedelta(seconds=310)
            assert Worker.objects.get().heartbeat_at == START + timedelta(seconds=10)
        assert clock.now().year >= 2026
        assert not clock.is_virtual()

    def test_goes_from_one_due_time_to_the_next_until_nothing_waits(self, bus: Harness, station: Station) -> None:
        station.declare(retry=SLOWLY)
        bus.fail(ANNOUNCE, times=2)
        bus.publish(TrainArrived(train="ICE 1"))
        start = bus.now
        assert bus.finish() == 3
        assert bus.now == start + timedelta(seconds=310)
        assert ledger() == ["ICE 1"]

    def test_fires_what_was_scheduled_and_what_recurs(self, bus: Harness, station: Station) -> None:
        recurring("station.tick", DoorsOpened(train="tick"), every="1m")
        synchronise_schedules()
        try:
            station.declare()
            bus.publish(TrainArrived(train="ICE 1"), delay="90s")
            bus.scheduled(TrainArrived, at=bus.now + timedelta(seconds=90), times=1)
            bus.advance("3m")
            bus.scheduled(TrainArrived, times=0)
            assert ledger() == ["ICE 1"]
            assert len(bus.published(DoorsOpened, train="tick")) in {2, 3}
            assert bus.finish() == 0
        finally:
            forget_schedule("station.tick")

    def test_lets_a_rate_limit_have_its_tokens(self, bus: Harness, station: Station) -> None:
        station.declare(rate_limit=Rate(2, per="1m", burst=2))
        for n in range(6):
            bus.publish(TrainArrived(train=f"RE {n}"))
        bus.run()
        assert ledger() == ["RE 0", "RE 1"]
        start = bus.now
        bus.finish()
        assert len(ledger()) == 6
        assert bus.now - start >= timedelta(minutes=1, seconds=55)

    def test_needs_a_zone(self, db: None) -> None:
        with pytest.raises(ValueError, match="has no time zone"), harness(at=datetime(2026, 1, 1)):  # noqa: DTZ001
            pass


class TestIsolation:
    def test_delivers_to_the_chosen_consumers_only(self, station: Station, db: None) -> None:
        station.declare(lambda event, context: write(f"swept {event.train}"), name=CLEAN)
        station.declare()
        with harness(consumers=[announce]) as bus:
            bus.publish(TrainArrived(train="ICE 1"))
            bus.finish()
            assert ledger() == ["ICE 1"]
            bus.consumed(TrainArrived, by=CLEAN, times=0)

    def test_puts_a_double_in_a_consumers_place(self, bus: Harness, station: Station) -> None:
        station.declare(open_doors)
        station.declare(to=DoorsOpened, name=CLEAN)
        double = bus.replace(open_doors)
        bus.publish(TrainArrived(train="ICE 1"))
        bus.run()
        assert (double.calls, ledger()) == ([TrainArrived(train="ICE 1")], [])
        bus.replace(open_doors, lambda event, context: publish(DoorsOpened(train="double")))
        bus.publish(TrainArrived(train="ICE 2"))
        bus.run()
        bus.consumed(DoorsOpened, by=CLEAN, train="double")

    def test_lets_one_consumer_fail_before_or_after_its_work(self, bus: Harness, station: Station) -> None:
        runs: list[str] = []

        def handler(event: TrainArrived, context: Context) -> None:
            runs.append(event.train)
            open_doors(event, context)

        station.declare(handler, retry=Retry(immediate=3, delays=()))
        bus.fail(handler, times=2, error=TimeoutError("gateway"))
        bus.publish(TrainArrived(train="ICE 1"))
        bus.run()
        assert (runs, ledger()) == (["ICE 1"], ["ICE 1"])
        bus.fail(handler, after=True)
        bus.publish(TrainArrived(train="ICE 2"))
        bus.run()
        assert (runs[1:], ledger()) == (["ICE 2", "ICE 2"], ["ICE 1", "ICE 2"])
        bus.published(DoorsOpened, times=1, train="ICE 2")

    def test_leaves_nothing_behind(self, station: Station, db: None) -> None:
        declared = station.declare()
        with harness() as bus:
            bus.replace(announce)
            bus.fail(announce)
            bus.publish(TrainArrived(train="ICE 1"))
            bus.run()
        assert station.find(ANNOUNCE) is declared
        assert not Worker.objects.exists()
        assert timezone.now() - clock.now() < timedelta(minutes=1)

    def test_puts_back_no_consumer_that_was_forgotten_meanwhile(self, station: Station, db: None) -> None:
        station.declare()
        with harness() as bus:
            bus.fail(ANNOUNCE)
            station.close()
        assert station.find(ANNOUNCE) is None

    def test_puts_back_no_consumer_that_was_declared_anew_meanwhile(self, station: Station, db: None) -> None:
        station.declare()
        with harness() as bus:
            bus.fail(ANNOUNCE)
            declared = station.declare()
        assert station.find(ANNOUNCE) is declared

    def test_reaches_back_to_its_own_beginning(self, station: Station, db: None) -> None:
        """The subscriptions are of the day the test database was made, the test plays earlier."""
        station.declare()
        with harness(at=START - timedelta(days=3650)) as bus:
            bus.publish(TrainArrived(train="ICE 1"))
            bus.run()
            assert ledger() == ["ICE 1"]
            assert Subscription.objects.get(consumer=ANNOUNCE).starts_at == bus.now

    def test_names_the_consumers_there_are_when_it_does_not_know_one(self, bus: Harness, station: Station) -> None:
        station.declare()
        with pytest.raises(LookupError, match=r"No consumer is 'station\.anounce'\. Declared: .*station\.announce"):
            bus.fail("station.anounce")


class TestAssertions:
    def test_say_what_happened_instead(self, bus: Harness, station: Station) -> None:
        station.declare(refuse)
        station.declare(lambda event, context: (_ for _ in ()).throw(TimeoutError("mops")), name=CLEAN, retry=SLOWLY)
        bus.publish(TrainArrived(train="ICE 1"))
        bus.run()
        with pytest.raises(AssertionError) as caught:
            bus.published(DoorsOpened)
        said = str(caught.value)
        assert said.startswith("tests.DoorsOpened was published: expected at least once, seen 0 times.")
        assert "published: tests.TrainArrived (1)" in said
        assert "waiting: tests.TrainArrived for station.clean, due in 10 s, after TimeoutError: mops" in said
        assert "dead: tests.TrainArrived at station.announce, permanent: PermanentError: no platform" in said

    def test_say_with_what_values_it_was(self, bus: Harness) -> None:
        bus.publish(TrainArrived(train="ICE 1"))
        with pytest.raises(AssertionError, match=r"With other values, 1 times:\n  train='ICE 1'"):
            bus.published(TrainArrived, train="ICE 2")
        with pytest.raises(AssertionError, match=r"not relayed yet: 1; call run\(\)"):
            bus.consumed(TrainArrived)

    def test_know_the_fields_of_a_contract(self, bus: Harness) -> None:
        with pytest.raises(TypeError, match="TrainArrived has no field trian; it has train"):
            bus.published(TrainArrived, trian="ICE 1")


class TestFixture:
    def test_needs_nothing_else(self, harness: Harness, station: Station) -> None:
        station.declare()
        harness.publish(TrainArrived(train="ICE 1"))
        harness.run()
        harness.consumed(TrainArrived, by=announce)
        assert connection.in_atomic_block

    @pytest.mark.django_db(transaction=True)
    def test_takes_the_kind_of_database_that_the_test_asks_for(self, harness: Harness) -> None:
        assert not connection.in_atomic_block
