"""Replay, discard, pause: guarded, idempotent, audited; two operators at once get one effect."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from messaging import Context, OperationRefused, PermanentError
from messaging.consumers import GUARANTEES, Guarantee
from messaging.database import store
from messaging.delivery import sizing
from messaging.delivery.loop import deliver_once
from messaging.ids import new_id
from messaging.maintenance import resume_expired_pauses
from messaging.models import AuditRecord, ConsumerState, DeadLetter, Delivery, OutboxEntry
from messaging.operations import (
    BulkResult,
    discard_dead_letters,
    pause_consumer,
    replay_dead_letters,
    resume_consumer,
)
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANA,
    ANNOUNCE,
    BEN,
    CLEAN,
    EVE,
    TrainArrived,
    arrive,
    dead,
    elsewhere,
    is_postgresql,
    ledger,
    outcomes,
    relay,
    write,
)
from tests.processes import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


class Points:
    """A handler that fails until it is repaired."""

    def __init__(self) -> None:
        self.is_repaired = False

    def handle(self, event: TrainArrived, context: Context) -> None:
        if not self.is_repaired:
            raise PermanentError("the points are stuck")
        write(event.train)


@pytest.fixture
def points(station: Any) -> Points:
    handler = Points()
    station.declare(handler.handle)
    return handler


def fail(*trains: str) -> list[UUID]:
    """Let trains end as dead letters and return those letters' ids."""
    ids = arrive(*trains)
    run_until_idle()
    return [dead(each).id for each in ids]


def replay(*ids: UUID, actor: Any = ANA, **given: Any) -> BulkResult:
    return replay_dead_letters(ids=ids, actor=actor, reason="repaired", **given)


class TestReplay:
    def test_is_a_new_run_that_resolves_when_it_is_handled(self, points: Points) -> None:
        [letter] = fail("ICE 1")
        points.is_repaired = True
        assert replay(letter).done == (letter,)
        assert DeadLetter.objects.get().state == "replaying"
        run_until_idle()
        row = DeadLetter.objects.get()
        assert (row.state, row.resolution, row.resolved_by) == ("resolved", "replayed", "ana")
        assert row.resolved_at is not None
        assert ledger() == ["ICE 1"]
        assert outcomes() == ["dead_lettered", "handled"]
        assert verify().is_sound

    def test_goes_to_the_consumer_that_failed_only(self, points: Points, station: Any) -> None:
        station.declare(name=CLEAN)
        [letter] = fail("ICE 1")
        points.is_repaired = True
        replay(letter)
        run_until_idle()
        assert outcomes(consumer=CLEAN) == ["handled"]

    def test_that_fails_keeps_exactly_one_open_dead_letter(self, points: Points) -> None:
        [letter] = fail("ICE 1")
        for run in (2, 3, 4):
            replay(letter)
            run_until_idle()
            assert not verify().lost
            [open_one] = DeadLetter.objects.filter(state="open")
            assert open_one.run == run
            letter = open_one.id
        assert set(DeadLetter.objects.exclude(id=letter).values_list("resolution", flat=True)) == {"failed_again"}
        points.is_repaired = True
        replay(letter)
        run_until_idle()
        assert not DeadLetter.objects.exclude(state="resolved").exists()
        assert ledger() == ["ICE 1"]

    def test_of_two_operators_at_once_is_done_by_one_and_the_other_is_told(self, points: Points) -> None:
        [letter] = fail("ICE 1")
        points.is_repaired = True
        start = threading.Barrier(2)

        def operator(actor: Any) -> BulkResult:
            start.wait(30)
            return replay(letter, actor=actor)

        results = [elsewhere(lambda actor=actor: operator(actor)) for actor in (ANA, BEN)]
        answers = [future.result(30) for future in results]
        assert sorted(len(answer.done) for answer in answers) == [0, 1]
        winner = ("ana", "ben")[[len(answer.done) for answer in answers].index(1)]
        [refusal] = next(answer.refused for answer in answers if not answer.done)
        assert refusal.why == f"a replay is already on its way, started by {winner}"
        assert OutboxEntry.objects.count() == 1
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_repeated_with_its_request_id_answers_the_same_and_does_nothing(self, points: Points) -> None:
        letters = fail("ICE 1", "ICE 2")
        first = replay(*letters, request_id="r-1")
        run_until_idle()
        assert replay(*letters, request_id="r-1") == first
        assert DeadLetter.objects.count() == 4
        assert AuditRecord.objects.filter(action="dead_letter.replay").count() == 2

    def test_under_a_used_request_id_with_another_question_is_refused(self, points: Points) -> None:
        one, two = fail("ICE 1", "ICE 2")
        replay(one, request_id="r-1")
        with pytest.raises(OperationRefused) as refused:
            replay(two, request_id="r-1")
        assert refused.value.code == "request_id_reused"
        assert DeadLetter.objects.get(id=two).state == "open"
        replay(two, request_id="r-1", actor=BEN)  # request ids belong to their actor

    def test_names_what_it_refused_and_does_the_rest(self, points: Points) -> None:
        one, two = fail("ICE 1", "ICE 2")
        discard_dead_letters(ids=[one], actor=BEN, reason="scrapped")
        nobody = new_id()
        result = replay(one, two, nobody, two)
        assert result.done == (two,)
        why = {refusal.id: refusal.why for refusal in result.refused}
        assert set(why) == {one, nobody}
        assert "discarded by ben" in why[one]
        assert why[nobody] == "does not exist"

    def test_is_refused_when_nobody_could_run_it(self, station: Any) -> None:
        def broken(event: TrainArrived, context: Context) -> None:
            raise PermanentError

        station.declare(broken)
        [letter] = fail("ICE 1")
        station.forget(ANNOUNCE)
        ConsumerState.objects.filter(name=ANNOUNCE).delete()
        [refusal] = replay(letter).refused
        assert "does not exist any more" in refusal.why


class TestDiscard:
    def test_closes_a_dead_letter_for_good(self, points: Points) -> None:
        [letter] = fail("ICE 1")
        assert discard_dead_letters(ids=[letter], actor=ANA, reason="scrapped").done == (letter,)
        row = DeadLetter.objects.get()
        assert (row.state, row.resolution, row.resolved_by) == ("discarded", "discarded", "ana")
        [refusal] = discard_dead_letters(ids=[letter], actor=BEN, reason="again").refused
        assert "already discarded by ana" in refusal.why
        assert verify().is_sound


class TestGuard:
    @pytest.mark.parametrize("operation", [replay_dead_letters, discard_dead_letters])
    def test_denies_and_audits_who_may_only_look(self, points: Points, operation: Any) -> None:
        [letter] = fail("ICE 1")
        with pytest.raises(OperationRefused) as refused:
            operation(ids=[letter], actor=EVE, reason="please")
        assert refused.value.code == "forbidden"
        record = AuditRecord.objects.get()
        assert (record.actor, record.outcome, record.target) == ("eve", "denied", f"dead_letter:{letter}")
        assert DeadLetter.objects.get().state == "open"

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"reason": " "}, "reason"),
            ({"reason": "x" * 2001}, "reason"),
            ({"ids": []}, "ids"),
            ({"ids": [new_id() for _ in range(501)]}, "ids"),
            ({"request_id": ""}, "request_id"),
            ({"request_id": "x" * 201}, "request_id"),
            ({"request_id": "a\x00b"}, "request_id"),
        ],
    )
    def test_names_the_input_to_blame(self, points: Points, given: dict[str, Any], field: str) -> None:
        [letter] = fail("ICE 1")
        with pytest.raises(OperationRefused) as refused:
            replay_dead_letters(**({"ids": [letter], "actor": ANA, "reason": "r"} | given))
        assert (refused.value.code, refused.value.field) == ("invalid", field)
        assert DeadLetter.objects.get().state == "open"
        assert AuditRecord.objects.get().outcome == "refused"

    @pytest.mark.parametrize("request_id", ["a\x00b", "\ud800", "x" * 300])
    def test_denies_also_what_cannot_be_stored(self, points: Points, request_id: str) -> None:
        with pytest.raises(OperationRefused) as refused:
            replay_dead_letters(ids=[new_id()], actor=EVE, reason="r", request_id=request_id)
        assert refused.value.code == "forbidden"
        assert AuditRecord.objects.get().outcome == "denied"

    def test_keeps_a_reason_with_characters_no_database_stores(self, points: Points) -> None:
        [letter] = fail("ICE 1")
        discard_dead_letters(ids=[letter], actor=ANA, reason="nul \x00 half \ud800")
        assert AuditRecord.objects.get().reason == "nul \\x00 half \\ud800"

    def test_audits_what_was_done_by_whom_from_where(self, points: Points) -> None:
        [letter] = fail("ICE 1")
        replay(letter, request_id="r-1")
        record = AuditRecord.objects.get()
        assert (record.actor, record.actor_kind, record.address) == ("ana", "user", "10.0.0.7")
        assert (record.outcome, record.reason, record.request_id) == ("done", "repaired", "r-1")
        assert record.details["consumer"] == ANNOUNCE


class TestPause:
    def test_stops_claiming_and_resume_goes_on(self, station: Any) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="track works")
        arrive("ICE 1")
        run_until_idle()
        assert (ledger(), Delivery.objects.count()) == ([], 1)
        assert ANNOUNCE not in store().claimable()
        resume_consumer(name=ANNOUNCE, actor=BEN)
        assert ANNOUNCE in store().claimable()
        run_until_idle()
        assert ledger() == ["ICE 1"]

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_in_the_middle_lets_what_is_claimed_finish(
        self, station: Any, monkeypatch: pytest.MonkeyPatch, guarantee: Guarantee
    ) -> None:
        monkeypatch.setattr(sizing, "FIRST", 2)
        pause = partial(pause_consumer, name=ANNOUNCE, actor=ANA, reason="track works")

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 1" and is_postgresql():
                elsewhere(pause).result(PATIENCE)
            elif event.train == "ICE 1":  # SQLite has one writer at a time, and this is it
                pause()

        consumer = station.declare(handler, guarantee=guarantee)
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        assert [deliver_once(consumer), deliver_once(consumer)] == [2, 0]
        assert (ledger(), outcomes()) == (["ICE 1", "ICE 2"], ["handled", "handled"])
        resume_consumer(name=ANNOUNCE, actor=ANA)
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2", "ICE 3"]

    def test_leaves_other_consumers_alone(self, station: Any) -> None:
        station.declare()
        station.declare(name=CLEAN)
        pause_consumer(name=CLEAN, actor=ANA, reason="track works")
        arrive("ICE 1")
        run_until_idle()
        assert (outcomes(), outcomes(consumer=CLEAN)) == (["handled"], [])

    def test_ends_by_itself_and_says_so_in_the_audit(self, station: Any) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="works", until=store().now() + timedelta(hours=1))
        arrive("ICE 1")
        run_until_idle()
        assert (ledger(), resume_expired_pauses()) == ([], 0)
        ConsumerState.objects.filter(name=ANNOUNCE).update(paused_until=store().now() - timedelta(seconds=1))
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert (resume_expired_pauses(), resume_expired_pauses()) == (1, 0)
        record = AuditRecord.objects.get(action="consumer.resume")
        assert (record.actor_kind, record.reason) == ("task", "The pause expired.")

    def test_refuses_what_makes_no_sense(self, station: Any) -> None:
        station.declare()
        soon, before = store().now() + timedelta(hours=1), store().now() - timedelta(hours=1)
        for given, code in [
            ({"name": "nobody"}, "not_found"),
            ({"name": "nul\x00"}, "not_found"),
            ({"until": before}, "invalid"),
            ({"until": soon.replace(tzinfo=None)}, "invalid"),
            ({"reason": ""}, "invalid"),
            ({"actor": EVE}, "forbidden"),
        ]:
            with pytest.raises(OperationRefused) as refused:
                pause_consumer(**({"name": ANNOUNCE, "actor": ANA, "reason": "r"} | given))
            assert refused.value.code == code, given
        with pytest.raises(OperationRefused, match="not paused"):
            resume_consumer(name=ANNOUNCE, actor=ANA)
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="works")
        with pytest.raises(OperationRefused, match="already paused by ana"):
            pause_consumer(name=ANNOUNCE, actor=BEN, reason="works")
