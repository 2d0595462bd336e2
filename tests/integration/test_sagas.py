"""Sagas through their public face: what leads where, what is undone, and what happens when two messages meet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from messaging import publish
from messaging.database import store
from messaging.errors import PermanentError
from messaging.models import DeadLetter, Delivery, Message, SagaInstance, SagaTransition, ScheduledMessage
from messaging.operations import OPERATE, Actor, replay_dead_letters, resubmit_dead_letter
from messaging.sagas import engine
from messaging.testing import harness
from messaging.testing.naming import consumer_of
from messaging.testing.sagas import FailureCase, check_failure, failure_table
from tests.factories import elsewhere
from tests.journeys import (
    JourneyConfirmed,
    JourneyPlanned,
    JourneyRenamed,
    MealBooked,
    MealCancelled,
    MealRefused,
    PassengerTold,
    SeatBooked,
    SeatRefused,
    SeatReleased,
    journeys,
)
from tests.processes import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
ANA = Actor(name="ana", kind="user", permissions=frozenset({OPERATE}))


@pytest.fixture
def journey() -> Iterator[Any]:
    with journeys() as declared:
        yield declared


@pytest.fixture
def h(journey: Any) -> Iterator[Any]:
    with harness() as running:
        yield running


def to_meal(h: Any, name: str = "j1") -> None:
    h.publish(JourneyPlanned(journey=name))
    h.run()
    h.publish(SeatBooked(journey=name, seat="12A"))
    h.run()


def resubmit(dead: DeadLetter) -> None:
    body = Message.objects.get(id=dead.message_id).content().decode()
    resubmit_dead_letter(id=dead.id, body=body, actor=ANA, reason="Mended.")


class TestSaga:
    def test_goes_from_state_to_state_and_ends(self, h: Any, journey: Any) -> None:
        to_meal(h)
        h.saga(journey, "j1", state="awaiting_meal", seat="12A")
        h.publish(MealBooked(journey="j1"))
        h.run()
        h.publish(JourneyConfirmed(journey="j1"))
        h.run()
        h.saga(journey, "j1", state="awaiting_answers", is_told=False)
        h.publish(PassengerTold(journey="j1"))
        h.run()
        seen = h.saga(journey, "j1", state="confirmed", is_told=True)
        assert seen.is_ended
        assert seen.pending == ()
        assert seen.completed == ("seat", "meal")
        assert [each.state_after for each in seen.history] == [
            "awaiting_seat", "awaiting_meal", "awaiting_answers", "awaiting_answers", "awaiting_answers", "confirmed",
        ]  # fmt: skip
        assert seen.history[1].changes == {"seat": ["", "12A"]}

    def test_keeps_its_history_for_ever(self, h: Any, journey: Any) -> None:
        to_meal(h)
        with pytest.raises(Exception, match="append-only"), transaction.atomic():
            SagaTransition.objects.update(note="it never happened")

    def test_timeout_compensates_and_is_taken_back_at_the_end(self, h: Any, journey: Any) -> None:
        to_meal(h)
        assert h.saga(journey, "j1").pending == ("too_slow",)
        h.advance("14m")
        h.saga(journey, "j1", state="awaiting_meal")
        h.advance("2m")
        seen = h.saga(journey, "j1", state="cancelled")
        assert seen.undone == ("seat",)
        h.published(SeatReleased, times=1)
        assert not ScheduledMessage.objects.exists()

    def test_late_timeout_after_completion_is_ignored(self, h: Any, journey: Any) -> None:
        h.publish(JourneyPlanned(journey="j1"))
        h.run()
        ScheduledMessage.objects.update(due_at=h.now)
        store().move_due(100)
        store().relay(100)  # the timeout is on its way and cannot be taken back
        Delivery.objects.update(available_at=h.now + timedelta(seconds=1))
        h.publish(SeatRefused(journey="j1"))
        h.run()
        h.advance("2s")
        seen = h.saga(journey, "j1", state="cancelled")
        assert [each.kind for each in seen.history] == ["message", "message", "ignored"]
        assert "came late" in seen.history[-1].note
        assert not DeadLetter.objects.exists()

    def test_timeout_that_is_resubmitted_still_counts(
        self, h: Any, journey: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> None:
            raise PermanentError("Not today.")

        to_meal(h)
        with monkeypatch.context() as broken:
            broken.setattr(engine, "_time_out", fails)
            h.advance("16m")
            resubmit(DeadLetter.objects.get())
            h.run()
        resubmit(DeadLetter.objects.filter(state="open").latest("id"))
        h.run()
        seen = h.saga(journey, "j1", state="cancelled")
        assert seen.undone == ("seat",)

    def test_correlation_changed_is_refused(self, h: Any, journey: Any) -> None:
        to_meal(h)
        h.publish(JourneyRenamed(journey="j1", name="j2"))
        h.run()
        h.dead_lettered(JourneyRenamed, by="tests.Journey", reason="permanent", times=1)
        h.saga(journey, "j1", state="awaiting_meal", journey="j1")

    @pytest.mark.parametrize(
        ("policy", "outcome"), [("ignore", "ignored"), ("defer", "postponed"), ("dead_letter", "dead_lettered")]
    )
    def test_not_found_message_follows_declared_policy(self, policy: str, outcome: str) -> None:
        from messaging.models import Attempt

        with journeys(not_found=policy) as journey, harness() as h:
            h.publish(SeatBooked(journey="nobody", seat="1"))
            h.run()
            assert Attempt.objects.get(consumer="tests.Journey").outcome == outcome
            assert not SagaInstance.objects.exists()
            if policy != "defer":
                return
            h.publish(JourneyPlanned(journey="nobody"))
            h.advance("5s")
            h.saga(journey, "nobody", state="awaiting_meal", seat="1")

    def test_deferred_message_is_not_deferred_for_ever(self) -> None:
        with journeys(not_found="defer", defer_for="1m"), harness() as h:
            h.publish(SeatBooked(journey="nobody", seat="1"))
            h.advance("5m")
            h.dead_lettered(SeatBooked, times=1)

    @pytest.mark.parametrize(("policy", "state"), [("defer", "awaiting_answers"), ("ignore", "awaiting_meal")])
    def test_message_in_another_state_follows_declared_policy(self, policy: str, state: str) -> None:
        with journeys(wrong_state=policy) as journey, harness() as h:
            h.publish(JourneyPlanned(journey="j1"))
            h.run()
            h.publish(MealBooked(journey="j1"))
            h.run()
            h.saga(journey, "j1", state="awaiting_seat")
            h.publish(SeatBooked(journey="j1", seat="1"))
            h.advance("1m")
            h.saga(journey, "j1", state=state)

    def test_saga_message_through_delayed_retries_reaches_the_right_state(self, h: Any, journey: Any) -> None:
        h.publish(JourneyPlanned(journey="j1"))
        h.run()
        h.fail("tests.Journey", times=1)
        h.publish(SeatBooked(journey="j1", seat="7"))
        h.run()
        h.saga(journey, "j1", state="awaiting_seat")
        h.advance("11s")
        h.saga(journey, "j1", state="awaiting_meal", seat="7")

    def test_rollback_undoes_create_update_complete_together(self, h: Any, journey: Any) -> None:
        """A failure after the saga's own work, in the same transaction, leaves nothing of any of the three."""
        for message, states in (
            (JourneyPlanned(journey="j1"), []),
            (SeatBooked(journey="j1", seat="1"), ["awaiting_seat"]),
            (MealRefused(journey="j1"), ["awaiting_meal"]),
        ):
            before = (SagaTransition.objects.count(), ScheduledMessage.objects.count())
            h.fail("tests.Journey", times=1, after=True)
            h.publish(message)
            h.run()
            assert list(SagaInstance.objects.values_list("state", flat=True)) == states
            assert (SagaTransition.objects.count(), ScheduledMessage.objects.count()) == before
            h.advance("11s")
        h.saga(journey, "j1", state="cancelled")


class TestCompensation:
    CASES = (
        FailureCase(
            failure="the seat is refused", run=lambda h: _drive(h, SeatRefused), ends_in="cancelled", undone=(),
        ),
        FailureCase(
            failure="the meal is refused", run=lambda h: _drive(h, SeatBooked, MealRefused), ends_in="cancelled",
            undone=("seat",),
        ),
        FailureCase(
            failure="the meal is refused after it was booked",
            run=lambda h: _drive(h, SeatBooked, MealBooked, MealRefused), ends_in="cancelled", undone=("meal", "seat"),
        ),
    )  # fmt: skip

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.failure)
    def test_undoes_exactly_the_completed_steps_in_reverse(self, h: Any, journey: Any, case: FailureCase) -> None:
        seen = check_failure(h, journey, case)
        assert f"| {case.failure} |" in failure_table(journey, [(case, seen)])

    def test_failing_one_is_retried_dead_lettered_and_resumed(self) -> None:
        broken = [True]

        def undo() -> None:
            if broken[0]:
                raise RuntimeError("the railway is closed")

        with journeys(undo=undo) as journey, harness() as h:
            to_meal(h)
            h.publish(MealBooked(journey="j1"))
            h.run()
            h.publish(MealRefused(journey="j1"))
            h.advance("1m")
            seen = h.saga(journey, "j1", state="compensating")
            assert seen.undone == ("meal",)
            letter = DeadLetter.objects.get(consumer="tests.Journey")
            broken[0] = False
            replay_dead_letters(ids=[letter.id], actor=ANA, reason="open again")
            h.run()
            assert h.saga(journey, "j1", state="cancelled").undone == ("meal", "seat")
            h.published(MealCancelled, times=1)
            h.published(SeatReleased, times=1)

    def test_step_completed_after_the_decision_is_undone_too(self, h: Any, journey: Any) -> None:
        h.publish(JourneyPlanned(journey="j1"))
        h.advance("16m")
        h.saga(journey, "j1", state="cancelled")
        h.publish(SeatBooked(journey="j1", seat="9"))
        h.run()
        seen = h.saga(journey, "j1", state="cancelled")
        assert seen.undone == ("seat",)
        h.published(SeatReleased, times=1)


class TestOrdered:
    """A saga with ``ordered=True`` whose messages bear its correlation as their key."""

    def tell(self, h: Any, *messages: Any) -> None:
        for message in messages:
            h.publish(message, key=message.journey)
        h.run()

    def test_takes_one_instances_messages_in_turn_though_one_must_wait(self) -> None:
        with journeys(ordered=True) as journey, harness() as h:
            self.tell(h, JourneyPlanned(journey="j1"), JourneyPlanned(journey="j2"))
            _fail_first_attempt(h, SeatBooked, "j1")
            self.tell(h, SeatBooked(journey="j1", seat="1"), MealBooked(journey="j1"))
            self.tell(h, SeatBooked(journey="j2", seat="2"), MealBooked(journey="j2"))
            h.saga(journey, "j1", state="awaiting_seat")
            h.saga(journey, "j2", state="awaiting_answers")
            h.advance("11s")
            h.saga(journey, "j1", state="awaiting_answers")
            assert not DeadLetter.objects.exists()

    def test_compensates_and_times_out_like_any_other(self) -> None:
        with journeys(ordered=True) as journey, harness() as h:
            for name in ("j1", "j2"):
                self.tell(h, JourneyPlanned(journey=name), SeatBooked(journey=name, seat="1"))
            self.tell(h, MealBooked(journey="j1"), MealRefused(journey="j1"))
            assert h.saga(journey, "j1", state="cancelled").undone == ("meal", "seat")
            h.advance("16m")
            assert h.saga(journey, "j2", state="cancelled").undone == ("seat",)
            h.published(SeatReleased, times=2)


def _fail_first_attempt(h: Any, model: Any, name: str) -> None:
    """Let one message fail once, however often it is tried in the company of others before that counts."""
    original = consumer_of("tests.Journey").handler

    def handle(message: Any, context: Any) -> None:
        if isinstance(message, model) and message.journey == name and context.attempt == 1:
            raise ConnectionError("the railway does not answer")
        original(message, context)

    h.replace("tests.Journey", handle)


class TestTwoAtOnce:
    @pytest.mark.only_on("postgresql")
    def test_saga_started_concurrently_single_instance(self, station: Any) -> None:
        self._race([JourneyPlanned(journey="j1", seats=n) for n in (1, 2)], wrong_state="ignore")
        assert SagaInstance.objects.get().state == "awaiting_seat"
        assert ScheduledMessage.objects.count() == 1, "one timeout of one instance"
        assert SagaTransition.objects.filter(kind="message").count() == 1
        assert SagaTransition.objects.filter(kind="ignored").count() == 1
        assert not DeadLetter.objects.exists()

    @pytest.mark.only_on("postgresql")
    def test_stale_save_is_retried(self, station: Any) -> None:
        with journeys() as journey, harness() as h:
            to_meal(h)
            h.publish(MealBooked(journey="j1"))
            h.run()
            _race_in(journey, [PassengerTold(journey="j1"), JourneyConfirmed(journey="j1")])
            seen = h.saga(journey, "j1", state="confirmed")
            assert [each.number for each in seen.history] == list(range(1, len(seen.history) + 1))
        from messaging.models import Attempt

        assert set(Attempt.objects.values_list("outcome", flat=True)) == {"handled"}
        assert not Delivery.objects.exists()

    def _race(self, messages: list[Any], **options: Any) -> None:
        with journeys(**options) as journey:
            _race_in(journey, messages)


def _race_in(journey: Any, messages: list[Any]) -> None:
    """Two workers hold one message each and read the saga before either writes."""
    import threading
    from unittest import mock

    from messaging.consumers import find_consumer
    from messaging.delivery import loop
    from messaging.sagas.turn import Turn
    from messaging.subscriptions import synchronise

    synchronise(is_deploy=True)
    with transaction.atomic():
        for message in messages:
            publish(message)
    while store().relay(100).taken:
        pass
    meeting, save, first = threading.Barrier(2, timeout=PATIENCE), Turn.save, threading.local()

    def save_together(turn: Turn) -> None:
        if not getattr(first, "met", False):
            first.met = True
            meeting.wait()
        save(turn)

    declared = find_consumer(journey.definition.name)

    def work() -> None:
        while loop.deliver_once(declared):
            pass

    with (
        mock.patch.object(Turn, "save", save_together),
        mock.patch("messaging.delivery.loop.Sizer.limit", return_value=1),
    ):
        first_worker, second_worker = elsewhere(work), elsewhere(work)
        first_worker.result(timeout=PATIENCE)
        second_worker.result(timeout=PATIENCE)


def _drive(h: Any, *models: Any) -> str:
    h.publish(JourneyPlanned(journey="j1"))
    h.run()
    for model in models:
        h.publish(model(journey="j1", **({"seat": "1"} if model is SeatBooked else {})))
        h.run()
    return "j1"
