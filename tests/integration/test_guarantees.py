"""What each guarantee promises, with a stale claim, a failure and a follow-up."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from messaging import Context, PermanentError, Retry, publish
from messaging.delivery.delivering import deliver_claim
from messaging.delivery.presence import presence
from messaging.delivery.sizing import Sizer
from messaging.ids import new_id
from messaging.models import DeadLetter, Delivery, Message, Worker
from messaging.operations import replay_dead_letters
from messaging.rescue import rescue
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANA,
    DoorsOpened,
    TrainArrived,
    arrive,
    claim,
    dead,
    ledger,
    outcomes,
    pending,
    relay,
    trains_of,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)
GUARANTEES = ["exactly_once", "at_least_once", "at_most_once"]


def handle(event: TrainArrived, context: Context) -> None:
    write(event.train)
    publish(DoorsOpened(train=event.train))


def fail_after_work(event: TrainArrived, context: Context) -> None:
    handle(event, context)
    raise PermanentError("too late")


class TestEachGuarantee:
    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_handles_and_publishes_what_the_handler_published(self, station: Any, guarantee: str) -> None:
        station.declare(handle, guarantee=guarantee)
        [first, _] = arrive("ICE 1", "ICE 2", correlation_id="day-1")
        run_until_idle()
        assert ledger() == trains_of("tests.DoorsOpened") == ["ICE 1", "ICE 2"]
        assert outcomes() == ["handled", "handled"]
        assert not Delivery.objects.exists()
        follow_up = Message.objects.filter(type="tests.DoorsOpened").order_by("id")[0]
        assert (follow_up.causation_id, follow_up.correlation_id) == (str(first), "day-1")
        assert verify().is_sound

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_publishes_nothing_for_a_handler_that_failed(self, station: Any, guarantee: str) -> None:
        station.declare(fail_after_work, guarantee=guarantee)
        arrive("ICE 1")
        run_until_idle()
        assert trains_of("tests.DoorsOpened") == []
        assert verify().is_sound

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_opens_a_transaction_for_exactly_once_only(self, station: Any, guarantee: str) -> None:
        seen = []
        station.declare(lambda event, context: seen.append(connection.in_atomic_block), guarantee=guarantee)
        arrive("ICE 1")
        run_until_idle()
        assert seen == [guarantee == "exactly_once"]

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_runs_nothing_under_a_stale_claim(self, station: Any, guarantee: str) -> None:
        consumer = station.declare(handle, guarantee=guarantee)
        arrive("ICE 1")
        relay()
        stale = claim()
        Delivery.objects.update(claim_token=new_id())  # rescued and claimed by another worker meanwhile
        deliver_claim(consumer, stale, Sizer())
        assert (ledger(), outcomes(), Delivery.objects.count()) == ([], [], 1)

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_gives_a_key_that_is_stable_over_retries_and_fresh_for_a_replay(self, station: Any, guarantee: str) -> None:
        keys: list[tuple[int, str]] = []

        def handler(event: TrainArrived, context: Context) -> None:
            keys.append((context.run, context.idempotency_key))
            raise ValueError

        station.declare(handler, guarantee=guarantee, retry=Retry(immediate=2, delays=()))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        if guarantee == "at_most_once":
            assert len(keys) == 1
            return
        replay_dead_letters(ids=[dead(message_id).id], actor=ANA, reason="again")
        run_until_idle()
        by_run = {run: {key for other, key in keys if other == run} for run in (1, 2)}
        assert len(by_run[1]) == len(by_run[2]) == 1
        assert by_run[1] != by_run[2]


class TestExactlyOnce:
    def test_leaves_no_effect_of_a_run_that_failed(self, station: Any) -> None:
        attempts = []

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            attempts.append(context.attempt)
            if len(attempts) < 4:
                raise ValueError

        station.declare(handler)
        arrive("ICE 1")
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert outcomes()[-1] == "handled"


class TestAtLeastOnce:
    """The handler runs outside a transaction: only the fence keeps a worker taken for dead from settling."""

    @pytest.mark.parametrize("ends_well", [True, False])
    def test_settles_nothing_when_the_claim_was_rescued_meanwhile(self, station: Any, ends_well: bool) -> None:
        taken_over = []

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            publish(DoorsOpened(train=event.train))
            if not taken_over:
                Worker.objects.all().delete()
                taken_over.append(rescue())
                claim(alone=True, worker=new_id())  # by the next worker
            if not ends_well:
                raise PermanentError

        consumer = station.declare(handler, guarantee="at_least_once")
        [message_id] = arrive("ICE 1")
        relay()
        deliver_claim(consumer, claim(), Sizer())
        assert taken_over == [1]
        assert outcomes(message_id) == ["crashed"]
        assert trains_of("tests.DoorsOpened") == []
        assert pending(message_id).claim_token is not None
        assert not DeadLetter.objects.exists()

    def test_runs_again_after_a_takeover_and_settles_once(self, station: Any) -> None:
        taken_over = []

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            publish(DoorsOpened(train=event.train))
            if not taken_over:
                Worker.objects.all().delete()
                taken_over.append(rescue())
                presence().register()

        station.declare(handler, guarantee="at_least_once")
        arrive("ICE 1")
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 1"]
        assert trains_of("tests.DoorsOpened") == ["ICE 1"]
        assert outcomes() == ["crashed", "handled"]
        assert verify().is_sound

    def test_settles_the_others_of_its_claim_when_one_was_taken_over(self, station: Any) -> None:
        seen: list[str] = []

        def handler(event: TrainArrived, context: Context) -> None:
            seen.append(event.train)
            handle(event, context)
            if len(seen) == 3:
                Delivery.objects.filter(message_id=first).update(claim_token=new_id())

        consumer = station.declare(handler, guarantee="at_least_once")
        [first, second, third] = arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        deliver_claim(consumer, claim(), Sizer())
        assert outcomes(second) == outcomes(third) == ["handled"]
        assert outcomes(first) == []
        assert [row.message_id for row in Delivery.objects.filter(consumer=consumer.name)] == [first]
        assert trains_of("tests.DoorsOpened") == ["ICE 2", "ICE 3"]

    def test_settles_what_ended_well_before_the_process_is_asked_to_end(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if event.train == "ICE 3":
                raise KeyboardInterrupt
            handle(event, context)

        consumer = station.declare(handler, guarantee="at_least_once")
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        with pytest.raises(KeyboardInterrupt):
            deliver_claim(consumer, claim(), Sizer())
        assert outcomes() == ["handled", "handled"]
        assert ledger() == trains_of("tests.DoorsOpened") == ["ICE 1", "ICE 2"]

    def test_keeps_what_the_handler_committed_itself_and_its_follow_up(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            with transaction.atomic():
                handle(event, context)
            raise PermanentError("after the commit")

        station.declare(handler, guarantee="at_least_once")
        arrive("ICE 1")
        run_until_idle()
        assert ledger() == trains_of("tests.DoorsOpened") == ["ICE 1"]
        assert outcomes() == ["dead_lettered"]

    def test_costs_neighbours_nothing(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if event.train == "ICE 2":
                raise PermanentError
            write(event.train)

        station.declare(handler, guarantee="at_least_once")
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 3"]


class TestAtMostOnce:
    def test_never_runs_again_and_records_a_failure_as_dropped(self, station: Any) -> None:
        runs = []

        def handler(event: TrainArrived, context: Context) -> None:
            runs.append(event.train)
            raise ValueError("lost")

        station.declare(handler, guarantee="at_most_once")
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert runs == ["ICE 1"]
        assert outcomes(message_id)[-1] == "dropped"
        assert (Delivery.objects.count(), DeadLetter.objects.count()) == (0, 0)

    def test_is_counted_once_as_dropped_by_the_recount(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            raise ValueError("lost")

        station.declare(handler, guarantee="at_most_once")
        arrive("ICE 1")
        run_until_idle()
        report = verify()
        assert report.is_sound, report.duplicated
        [mine] = [each.outcomes for each in report.consumers if each.consumer == "station.announce"]
        assert (mine.expected, mine.dropped, mine.handled, mine.duplicated) == (1, 1, 0, 0)

    def test_is_settled_before_the_handler_runs(self, station: Any) -> None:
        seen = []
        station.declare(lambda event, context: seen.append(Delivery.objects.count()), guarantee="at_most_once")
        arrive("ICE 1")
        run_until_idle()
        assert seen == [0]
