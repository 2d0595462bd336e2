"""Scheduled messages: due once, at their time, with the transaction that published them; cancelled, hastened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from messaging import Context, ContractError, TransactionRequired, cancel_scheduled, clock, publish
from messaging.database import store
from messaging.models import Attempt, Delivery, Message, ScheduledMessage
from messaging.publishing import publish_to
from messaging.queries.messages import MessageFilter, get_message, list_messages
from messaging.relay import Relay
from messaging.settings import Options, options
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import ANNOUNCE, CLEAN, DoorsOpened, Station, TrainArrived, arrive, elsewhere, ledger, write

pytestmark = pytest.mark.django_db(transaction=True)


def later(train: str, delay: str = "10m") -> UUID:
    [message_id] = arrive(train, delay=delay)
    return message_id


def come_due(*ids: UUID) -> None:
    """Let the time of these messages have come."""
    past = store().now() - timedelta(seconds=1)
    assert ScheduledMessage.objects.filter(message_id__in=ids).update(due_at=past) == len(ids)


def status(message_id: UUID) -> str:
    found = get_message(message_id)
    assert found is not None
    return found.status


class TestScheduledMessage:
    def test_is_delivered_when_its_time_has_come_and_not_before(self, station: Station) -> None:
        station.declare()
        message_id = later("ICE 1")
        run_until_idle()
        assert (ledger(), status(message_id)) == ([], "scheduled")
        come_due(message_id)
        run_until_idle()
        assert (ledger(), status(message_id)) == (["ICE 1"], "handled")

    def test_takes_a_time_in_any_zone(self, station: Station) -> None:
        station.declare()
        at = datetime(2090, 6, 1, 12, tzinfo=UTC)
        with pytest.raises(ContractError, match="ten years"):
            arrive("ICE 1", at=at)
        soon = clock.now() + timedelta(hours=1)
        [message_id] = arrive("ICE 1", at=soon)
        found = get_message(message_id)
        assert found is not None
        assert found.hold is not None
        assert found.hold.due_at == soon

    def test_of_a_time_that_has_passed_goes_at_once(self, station: Station) -> None:
        station.declare()
        arrive("ICE 1", at=clock.now() - timedelta(hours=1))
        arrive("ICE 2", delay=0)
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2"]

    @pytest.mark.parametrize(
        ("when", "field"),
        [
            ({"delay": "soon"}, "delay"),
            ({"delay": -5}, "delay"),
            ({"delay": "999999999d"}, "delay"),
            ({"delay": "1m", "at": datetime(2026, 1, 1, tzinfo=UTC)}, "delay"),
            ({"at": datetime(2026, 1, 1)}, "at"),  # noqa: DTZ001  without a zone on purpose
        ],
    )
    def test_is_refused_with_the_field_to_blame(self, when: dict[str, object], field: str) -> None:
        with pytest.raises(ContractError) as refused:
            arrive("ICE 1", **when)
        assert refused.value.field == field

    def test_goes_with_the_transaction_that_published_it(self, station: Station) -> None:
        station.declare()
        with transaction.atomic():
            publish(TrainArrived(train="ICE 1"), delay="1ms")
            transaction.set_rollback(True)
        run_until_idle()
        assert (ledger(), Message.objects.count(), ScheduledMessage.objects.count()) == ([], 0, 0)

    def test_of_a_handler_commits_with_its_outcome(self, station: Station) -> None:
        def clean(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train=event.train), delay="10m")
            if context.attempt == 1:
                raise ValueError

        station.declare(clean)
        arrive("ICE 1")
        run_until_idle()
        [waiting] = ScheduledMessage.objects.all()  # the failed attempt's is gone with it
        found = get_message(waiting.message_id)
        assert found is not None
        assert (found.type, found.status) == (DoorsOpened.contract_name, "scheduled")

    def test_takes_its_critical_time_from_when_it_was_due(self, station: Station) -> None:
        station.declare()
        message_id = later("ICE 1")
        Message.objects.filter(id=message_id).update(published_at=clock.now() - timedelta(hours=3))
        come_due(message_id)
        run_until_idle()
        from messaging.queries.overview import totals

        [handled] = [row for row in totals() if row.outcome == "handled"]
        assert handled.critical_us < timedelta(minutes=1) / timedelta(microseconds=1)

    def test_for_one_consumer_goes_to_that_one_only(self, station: Station) -> None:
        station.declare()
        station.declare(lambda event, context: write(f"clean {event.train}"), name=CLEAN)
        with transaction.atomic():
            message_id = publish_to(CLEAN, TrainArrived(train="ICE 1"), delay="1h")
        come_due(message_id)
        run_until_idle()
        assert ledger() == ["clean ICE 1"]
        assert verify().is_sound

    def test_is_moved_once_by_two_relays(self, station: Station) -> None:
        station.declare()
        ids = [later(f"ICE {number}") for number in range(40)]
        come_due(*ids)
        halves = [elsewhere(lambda: sum(store().move_due(3) for _ in range(20))) for _ in range(2)]
        assert sum(half.result(timeout=30) for half in halves) == 40
        run_until_idle()
        assert Attempt.objects.filter(outcome="handled").count() == 40
        assert len(ledger()) == 40


class Waits:
    """The relay's clock, which only its waits move, and no hints; as every so many of them begins, a message is due."""

    def __init__(self, stop: threading.Event, *, every: int) -> None:
        self.now, self.due_at = 0.0, 0.0
        self.lengths: list[float] = []
        self.delays: list[float] = []
        self._stop, self._every = stop, every

    def wait(self, seconds: float) -> bool:
        if Delivery.objects.exists():
            self.delays.append(self.now - self.due_at)
            Delivery.objects.all().delete()
        if len(self.lengths) % self._every == 0 and not ScheduledMessage.objects.exists():
            come_due(later("ICE 1"))
            self.due_at = self.now
        self.lengths.append(seconds)
        self.now += seconds
        if self.now > 10:
            self._stop.set()
        return False

    @contextmanager
    def opened(self) -> Iterator[Any]:
        yield self


class TestIdleRelay:
    @pytest.mark.parametrize("every", [1, 16])
    def test_finds_what_is_due_within_a_second(
        self, station: Station, monkeypatch: pytest.MonkeyPatch, every: int
    ) -> None:
        """Waits are short after each message, and as long as they may be where none came for a while."""
        station.declare()
        stop = threading.Event()
        waits = Waits(stop, every=every)
        monkeypatch.setattr("messaging.relay.open_hints", waits.opened)
        monkeypatch.setattr("messaging.relay.time", SimpleNamespace(monotonic=lambda: waits.now, time_ns=time.time_ns))
        monkeypatch.setattr("messaging.relay.wake", lambda work, known: None)
        Relay().run(stop)
        assert waits.delays
        assert max(waits.lengths) <= options().poll_seconds
        assert max(waits.delays) < 2 * options().poll_seconds
        assert Options().poll_seconds <= 0.5


class TestCancelling:
    def test_takes_the_message_back(self, station: Station) -> None:
        station.declare()
        message_id = later("ICE 1")
        with transaction.atomic():
            assert cancel_scheduled(message_id, reason="the train is late")
            assert not cancel_scheduled(message_id)
        run_until_idle()
        assert (ledger(), status(message_id)) == ([], "cancelled")
        found = get_message(message_id)
        assert found is not None
        assert found.hold is not None
        assert found.hold.reason == "the train is late"

    def test_needs_a_transaction(self) -> None:
        with pytest.raises(TransactionRequired):
            cancel_scheduled(UUID(int=1))

    def test_rolls_back_with_its_transaction(self, station: Station) -> None:
        station.declare()
        message_id = later("ICE 1")
        with transaction.atomic():
            assert cancel_scheduled(message_id)
            transaction.set_rollback(True)
        assert status(message_id) == "scheduled"

    def test_comes_too_late_for_what_has_fired(self, station: Station) -> None:
        station.declare()
        message_id = later("ICE 1")
        come_due(message_id)
        store().move_due(10)
        with transaction.atomic():
            assert not cancel_scheduled(message_id)
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_within_the_handler_that_published_it_leaves_nothing(self, station: Station) -> None:
        def clean(event: TrainArrived, context: Context) -> None:
            assert cancel_scheduled(publish(DoorsOpened(train=event.train), delay="10m"))

        station.declare(clean)
        arrive("ICE 1")
        run_until_idle()
        assert Message.objects.count() == 1

    def test_against_firing_leaves_one_winner(self, station: Station) -> None:
        station.declare()
        for _ in range(10):
            message_id = later("ICE 1")
            come_due(message_id)

            def cancel(message_id: UUID = message_id) -> bool:
                with transaction.atomic():
                    return cancel_scheduled(message_id)

            fired, cancelled = elsewhere(lambda: store().move_due(10)), elsewhere(cancel)
            assert fired.result(timeout=30) + cancelled.result(timeout=30) == 1
        run_until_idle()
        assert verify().is_sound


class TestVerify:
    def test_counts_scheduled_as_waiting_and_cancelled_as_cancelled(self, station: Station) -> None:
        station.declare()
        later("ICE 1")
        with transaction.atomic():
            cancel_scheduled(later("ICE 2"))
        report = verify()
        assert report.is_sound
        [announce] = [each.outcomes for each in report.consumers if each.consumer == ANNOUNCE]
        assert (announce.expected, announce.waiting, announce.cancelled) == (2, 1, 1)

    def test_finds_a_scheduled_message_that_was_lost(self, station: Station) -> None:
        station.declare()
        message_id = later("ICE 1")
        ScheduledMessage.objects.all().delete()
        [lost] = verify().lost
        assert lost.message_id == message_id

    def test_finds_a_directed_message_that_was_lost(self, station: Station) -> None:
        station.declare(name=CLEAN)
        with transaction.atomic():
            publish_to(CLEAN, DoorsOpened(train="ICE 1"), delay="1ms")
        run_until_idle(consumers=[])
        Delivery.objects.all().delete()
        ScheduledMessage.objects.all().delete()
        [lost] = verify().lost
        assert lost.consumer == CLEAN


class TestMessageList:
    def test_finds_by_status_and_keeps_them_out_of_handled(self, station: Station) -> None:
        station.declare()
        waiting, taken_back = later("ICE 1"), later("ICE 2")
        with transaction.atomic():
            cancel_scheduled(taken_back)
        arrive("ICE 3")
        run_until_idle()

        def found(name: str) -> list[UUID]:
            return [row.id for row in list_messages(MessageFilter(status=name)).rows]

        assert (found("scheduled"), found("cancelled")) == ([waiting], [taken_back])
        assert len(found("handled")) == 1
        [row] = list_messages(MessageFilter(status="scheduled")).rows
        assert [(dot.consumer, dot.status) for dot in row.deliveries] == [(ANNOUNCE, "scheduled")]
