"""Deliveries that wait for their time: hastened, cancelled, and bound to the policy of today."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from console.management.commands import up
from messaging import OperationRefused, Retry
from messaging.consumers import consumer
from messaging.delivery.loop import deliver_once
from messaging.models import AuditRecord, DeadLetter, Delivery
from messaging.operations import (
    DeliveryId,
    cancel_deliveries,
    discard_dead_letters,
    hasten_deliveries,
    replay_dead_letters,
)
from messaging.settings import options
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import ANA, ANNOUNCE, EVE, TrainArrived, arrive, claim, dead, ledger, outcomes, pending, write

pytestmark = pytest.mark.django_db(transaction=True)
LATER = Retry(immediate=0, delays=("10m", "1h"))
Configure = Callable[..., None]


class Points:
    """A handler that fails until it is repaired."""

    is_repaired = False

    def handle(self, event: TrainArrived, context: Any) -> None:
        if not self.is_repaired:
            raise LookupError("the points are stuck")
        write(event.train)


@pytest.fixture
def configure(settings: Any) -> Iterator[Configure]:
    """Changes the settings of the bus, for one test."""

    def change(**given: Any) -> None:
        settings.MESSAGING = {**settings.MESSAGING, **given}
        options.cache_clear()

    yield change
    options.cache_clear()


@pytest.fixture
def points(station: Any) -> Points:
    points = Points()
    station.declare(points.handle, retry=LATER)
    return points


def waiting(*trains: str) -> list[DeliveryId]:
    ids = [DeliveryId(message_id=id, consumer=ANNOUNCE) for id in arrive(*trains)]
    run_until_idle()
    return ids


def delays(*ids: DeliveryId) -> list[float]:
    """Return how many seconds after its failure each is due again."""
    rows = [pending(id.message_id) for id in ids]
    return [(row.available_at - row.failed_at).total_seconds() for row in rows if row.failed_at]


class TestHasten:
    def test_runs_a_delayed_retry_now(self, points: Points) -> None:
        (id,) = waiting("ICE 1")
        points.is_repaired = True
        assert hasten_deliveries(ids=[id], actor=ANA).done == (id,)
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert AuditRecord.objects.get(action="delivery.hasten").target == f"delivery:{id}"

    def test_leaves_what_is_due_runs_or_is_gone(self, points: Points) -> None:
        due, running = waiting("ICE 1", "ICE 2")
        gone = DeliveryId(message_id=due.message_id, consumer=ANNOUNCE, run=9)
        hasten_deliveries(ids=[due, running], actor=ANA)
        claim(limit=1)
        row = Delivery.objects.get(claim_token__isnull=False)
        held = DeliveryId(message_id=row.message_id, consumer=ANNOUNCE)
        result = hasten_deliveries(ids=[due, running, gone], actor=ANA)
        whys = {refusal.id: refusal.why for refusal in result.refused}
        assert whys.pop(held) == "is running now"
        assert whys.pop(gone) == "is not waiting any more"
        assert list(whys.values()) == ["is due already"]

    def test_is_denied_to_who_may_only_look(self, points: Points) -> None:
        with pytest.raises(OperationRefused, match="may not"):
            hasten_deliveries(ids=waiting("ICE 1"), actor=EVE)


class TestCancel:
    def test_ends_as_a_discarded_dead_letter_that_says_why_it_failed(self, points: Points) -> None:
        (id,) = waiting("ICE 1")
        assert cancel_deliveries(ids=[id], actor=ANA, reason="wrong train", request_id="1").done == (id,)
        again = cancel_deliveries(ids=[id], actor=ANA, reason="wrong train", request_id="1")
        assert again.done == (id,)
        letter = dead(id.message_id)
        assert (letter.state, letter.reason, letter.attempts) == ("discarded", "cancelled", 1)
        assert (letter.error_type, letter.error_message) == ("LookupError", "the points are stuck")
        assert not Delivery.objects.exists()
        assert verify().is_sound

    def test_needs_a_reason(self, points: Points) -> None:
        with pytest.raises(OperationRefused, match="reason"):
            cancel_deliveries(ids=waiting("ICE 1"), actor=ANA, reason=" ")

    def test_of_a_replay_opens_its_dead_letter_again(self, points: Points) -> None:
        (id,) = waiting("ICE 1")
        for _ in range(2):
            Delivery.objects.update(available_at=pending(id.message_id).created_at)
            run_until_idle()
        letter = dead(id.message_id)
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="again")
        run_until_idle()
        rerun = DeliveryId(message_id=id.message_id, consumer=ANNOUNCE, run=2)
        cancel_deliveries(ids=[rerun], actor=ANA, reason="not today")
        assert DeadLetter.objects.get(id=letter.id).state == "open"
        assert verify().is_sound
        assert discard_dead_letters(ids=[letter.id], actor=ANA, reason="never").done

    def test_loses_to_a_worker_that_claimed_first(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        hasten_deliveries(ids=[id], actor=ANA)
        token = claim()
        result = cancel_deliveries(ids=[id], actor=ANA, reason="too late")
        assert [refusal.why for refusal in result.refused] == ["is running now"]
        assert pending(id.message_id).claim_token == token
        assert outcomes() == ["retried"]
        assert deliver_once(station.declare(points.handle, retry=LATER)) == 0


class TestIgnored:
    def test_ignored_exception_runs_once(self, station: Any) -> None:
        calls = []

        def handler(event: TrainArrived, context: Any) -> None:
            calls.append(event.train)
            raise KeyError("nothing to do")

        station.declare(handler, retry=Retry(ignore=(KeyError,)), guarantee="at_least_once")
        arrive("ICE 1")
        run_until_idle()
        assert (calls, outcomes()) == (["ICE 1"], ["ignored"])
        assert not Delivery.objects.exists()


class TestJitter:
    def test_of_the_settings_spreads_what_failed_together(
        self, points: Points, station: Any, configure: Configure
    ) -> None:
        configure(retry_immediate=0, retry_delays=("10m",), retry_jitter=0.5)
        station.declare(points.handle)
        waits = delays(*waiting(*(f"ICE {n}" for n in range(8))))
        assert len(set(waits)) == 8
        assert all(300 <= wait <= 900 for wait in waits)


class TestChangedPolicy:
    def release(self, station: Any, points: Points, retry: Retry) -> None:
        """Deploy the consumer with another policy."""
        station.forget(ANNOUNCE)
        consumer(TrainArrived, name=ANNOUNCE, retry=retry)(points.handle)
        synchronise(is_deploy=True)

    def test_applies_to_what_already_waits_counted_from_its_failure(self, points: Points, station: Any) -> None:
        ids = waiting("ICE 1", "ICE 2")
        assert delays(*ids) == [600, 600]
        self.release(station, points, Retry(immediate=0, delays=("30m",)))
        assert delays(*ids) == [1800, 1800]

    def test_gives_one_last_try_to_what_it_would_have_given_up(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        self.release(station, points, Retry(immediate=0, delays=()))
        run_until_idle()
        assert (dead(id.message_id).reason, outcomes()) == ("exhausted", ["retried", "dead_lettered"])

    def test_follows_the_case_of_the_error_that_it_failed_with(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        self.release(station, points, LATER.on(LookupError, retry=Retry(immediate=0, delays=("2h",))))
        assert delays(id) == [7200]

    def test_leaves_what_was_hastened_or_put_off(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        hasten_deliveries(ids=[id], actor=ANA)
        self.release(station, points, Retry(immediate=0, delays=("3h",)))
        points.is_repaired = True
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_is_left_to_the_deploy_by_a_relay_that_starts(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        station.declare(points.handle, retry=Retry(immediate=0, delays=("30m",)))
        assert delays(id) == [600]
        self.release(station, points, Retry(immediate=0, delays=("30m",)))
        assert delays(id) == [1800]

    def test_is_moved_back_by_the_deploy_that_takes_it_back(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        self.release(station, points, Retry(immediate=0, delays=("30m",)))
        station.declare(points.handle, retry=LATER)  # a relay of the release before starts again
        assert delays(id) == [1800]
        self.release(station, points, LATER)
        assert delays(id) == [600]

    def test_of_the_settings_applies_too(self, points: Points, station: Any, configure: Configure) -> None:
        configure(retry_immediate=0, retry_delays=("10m",))
        station.declare(points.handle)
        (id,) = waiting("ICE 1")
        configure(retry_delays=("30m",))
        synchronise()  # what a relay does that starts before the deploy
        assert delays(id) == [600]
        synchronise(is_deploy=True)
        assert delays(id) == [1800]

    def test_applies_when_all_of_the_bus_starts_as_one_process(self, points: Points, station: Any) -> None:
        (id,) = waiting("ICE 1")
        station.declare(points.handle, retry=Retry(immediate=0, delays=("30m",)))
        up.Command().migrate()
        assert delays(id) == [1800]
