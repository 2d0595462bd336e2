"""Scenarios that every reliable bus is asked about, one test each, by the names they go by elsewhere."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, transaction

from messaging import Context, PermanentError, Retry, publish
from messaging import rescue as rescuing
from messaging.consumers import GUARANTEES, Guarantee
from messaging.delivery import loop
from messaging.delivery.loop import deliver_once, deliver_waiting
from messaging.delivery.presence import presence
from messaging.ingest import Received, ingest
from messaging.models import Attempt, DeadLetter, Delivery, Message, OutboxEntry, Worker
from messaging.operations import pause_consumer, replay_dead_letters
from messaging.rescue import rescue
from messaging.testing import Harness, run_until_idle
from messaging.verification import verify
from tests.deaths import bury, dies, failing_writes, kill_myself
from tests.factories import (
    ANA,
    ANNOUNCE,
    BEN,
    CLEAN,
    DoorsOpened,
    Station,
    TrainArrived,
    arrive,
    claim,
    dead,
    elsewhere,
    is_postgresql,
    ledger,
    outcomes,
    pending,
    relay,
    trains_of,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 30
NEVER_AGAIN = Retry(immediate=0, delays=())


def received(train: str = "ICE 1", id: str = "outside-1") -> Received:
    """Take a message from outside, with its sender's id."""
    raw = json.dumps({"type": "tests.TrainArrived", "version": 1, "id": id, "data": {"train": train}}).encode()
    return ingest(raw, content_type="application/json", source="signal-box", strict=True)


def open_doors(event: TrainArrived, context: Context) -> None:
    write(event.train)
    publish(DoorsOpened(train=event.train))


class TestReferenceScenarios:
    def test_duplicate_message_handler_not_invoked_again(self, station: Station) -> None:
        calls: list[str] = []
        station.declare(lambda event, context: calls.append(event.train))
        answers = []
        for _ in range(3):
            answers.append(received().outcome)
            run_until_idle()
        deliver_waiting(ANNOUNCE)  # a wake-up that came twice
        assert answers == ["accepted", "duplicate", "duplicate"]
        assert calls == ["ICE 1"]
        assert Message.objects.count() == 1

    def test_crash_just_after_dispatch_outgoing_still_released(self, station: Station) -> None:
        """The worker dies just after its COMMIT, before it could tell anybody of what it published."""
        consumer = station.declare(open_doors)
        station.declare(lambda event, context: write(f"doors of {event.train}"), to=DoorsOpened, name=CLEAN)
        arrive("ICE 1")
        relay()
        assert dies(lambda: deliver_once(consumer), at="alone.committed")
        assert (ledger(), OutboxEntry.objects.count()) == (["ICE 1"], 1)
        bury()
        run_until_idle()
        assert ledger() == ["ICE 1", "doors of ICE 1"]
        assert verify().is_sound

    def test_each_subscriber_dispatches_its_own_follow_ups(self, station: Station) -> None:
        station.declare(lambda event, context: publish(DoorsOpened(train=f"{event.train} by A")), name="station.a")
        station.declare(lambda event, context: publish(DoorsOpened(train=f"{event.train} by B")), name="station.b")

        def fails(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train="never"))
            raise PermanentError

        station.declare(fails, name="station.c")
        [cause] = arrive("ICE 1")
        run_until_idle()
        assert trains_of("tests.DoorsOpened") == ["ICE 1 by A", "ICE 1 by B"]
        causes = set(Message.objects.filter(type="tests.DoorsOpened").values_list("causation_id", flat=True))
        assert causes == {str(cause)}

    @pytest.mark.parametrize("first_commits", [True, False])
    def test_parallel_duplicates_second_waits_and_skips(self, station: Station, first_commits: bool) -> None:
        station.declare()
        with transaction.atomic():
            assert received().outcome == "accepted"
            second = elsewhere(received)
            threading.Event().wait(0.2)  # by now the second stands at the first one's row
            assert not second.done()
            transaction.set_rollback(not first_commits)
        assert second.result(PATIENCE).outcome == ("duplicate" if first_commits else "accepted")
        run_until_idle()
        assert ledger() == ["ICE 1"]

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_failure_after_send_emits_nothing(self, station: Station, guarantee: Guarantee) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train=event.train))
            raise PermanentError("after the send")

        station.declare(handler, guarantee=guarantee)
        arrive("ICE 1")
        run_until_idle()
        assert trains_of("tests.DoorsOpened") == []
        assert not OutboxEntry.objects.exists()

    def test_redelivery_count_does_not_leak_to_follow_ups(self, station: Station) -> None:
        seen: list[int] = []

        def handler(event: TrainArrived, context: Context) -> None:
            if context.attempt < 3:
                raise ValueError
            publish(DoorsOpened(train=event.train))

        station.declare(handler, retry=Retry(immediate=5, delays=()))
        station.declare(lambda event, context: seen.append(context.attempt), to=DoorsOpened, name=CLEAN)
        [id] = arrive("ICE 1")
        run_until_idle()
        assert outcomes(id) == ["retried", "retried", "handled"]
        assert seen == [1]
        assert Attempt.objects.get(consumer=CLEAN).number == 1

    def test_shutdown_during_retry_gives_it_back(self, station: Station) -> None:
        """The worker is asked to end between the first try and the second."""
        tries: list[int] = []

        def handler(event: TrainArrived, context: Context) -> None:
            tries.append(context.attempt)
            loop.stopping.set()
            if context.attempt == 1:
                raise ValueError

        station.declare(handler, retry=Retry(immediate=3, delays=()))
        [id] = arrive("ICE 1")
        relay()
        try:
            assert deliver_waiting(ANNOUNCE) is False
            row = pending(id)
            assert (tries, row.failures, row.claim_token, row.worker) == ([1], 1, None, None)
        finally:
            loop.stopping.clear()
        run_until_idle()
        loop.stopping.clear()
        assert (tries, outcomes(id)) == ([1, 2], ["retried", "handled"])

    def test_expired_message_is_not_handled(self, harness: Harness, station: Station) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="works", until=harness.now + timedelta(hours=1))
        harness.publish(TrainArrived(train="ICE 1"), expires_in="10m")
        harness.advance("1h")
        assert ledger() == []
        harness.dead_lettered(TrainArrived, reason="expired", times=1)

    def test_rescue_is_not_starved_by_a_full_batch(self, station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first batch is full of what cannot be rescued now: another transaction holds it."""
        monkeypatch.setattr(rescuing, "BATCH", 3)
        station.declare()
        arrive(*(f"RE {n:02}" for n in range(10)))
        relay()
        tokens = sorted((claim(limit=5, worker=UUID(int=n)) for n in (1, 2)), key=lambda token: token.int)
        if is_postgresql():
            with transaction.atomic():
                held = list(Delivery.objects.filter(claim_token=tokens[0]).select_for_update())
                assert elsewhere(rescue).result(PATIENCE) == 5
                assert len(held) == 5
        assert rescue() == (5 if is_postgresql() else 10)
        run_until_idle()
        assert ledger() == [f"RE {n:02}" for n in range(10)]

    def test_bulk_with_one_bad_message_does_the_rest(self, station: Station) -> None:
        bad: set[str] = {f"RE {n}" for n in range(6)}

        def handler(event: TrainArrived, context: Context) -> None:
            if event.train in bad:
                raise PermanentError
            write(event.train)

        station.declare(handler)
        ids = [dead_id.id for dead_id in _dead_letters_of(arrive(*sorted(bad)))]
        bad -= {f"RE {n}" for n in range(6) if n != 3}
        result = replay_dead_letters(ids=[*ids[:2], UUID(int=7), *ids[2:]], actor=ANA, reason="repaired")
        assert (len(result.done), [refused.id for refused in result.refused]) == (6, [UUID(int=7)])
        run_until_idle()
        assert ledger() == ["RE 0", "RE 1", "RE 2", "RE 4", "RE 5"]
        assert DeadLetter.objects.filter(state="open").count() == 1

    def test_a_replay_that_cannot_be_sent_keeps_the_dead_letter(self, station: Station) -> None:
        station.declare(lambda event, context: (_ for _ in ()).throw(PermanentError("no")))
        [letter] = _dead_letters_of(arrive("ICE 1"))
        with failing_writes("messaging_outboxentry"), pytest.raises(DatabaseError):
            replay_dead_letters(ids=[letter.id], actor=ANA, reason="again")
        assert DeadLetter.objects.get().state == "open"
        station.declare()
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="again")
        run_until_idle()
        assert (ledger(), DeadLetter.objects.get().state) == (["ICE 1"], "resolved")


class TestHardCases:
    def test_long_handler_is_not_taken_for_dead_while_its_process_lives(self, station: Station) -> None:
        """It takes longer than a silent worker is given, but its heartbeat goes on."""
        entered, may_end = threading.Event(), threading.Event()

        def slow(event: TrainArrived, context: Context) -> None:
            entered.set()
            assert may_end.wait(PATIENCE)
            with transaction.atomic():
                write(event.train)

        consumer = station.declare(slow, guarantee="at_least_once")
        [id] = arrive("ICE 1")
        relay()
        working = elsewhere(lambda: deliver_once(consumer))
        assert entered.wait(PATIENCE)
        Delivery.objects.update(claimed_at="2020-01-01T00:00:00Z")
        Worker.objects.update(heartbeat_at="2020-01-01T00:00:00Z")
        presence().beat()
        assert (rescue(), deliver_once(consumer)) == (0, 0)
        may_end.set()
        working.result(PATIENCE)
        assert (ledger(), outcomes(id)) == (["ICE 1"], ["handled"])

    def test_worker_stopped_past_its_heartbeat_that_wakes_and_finishes_late(self, station: Station) -> None:
        """Another worker did the work meanwhile: the late one's outcome and follow-ups are not written."""
        entered, may_go_on, runs = threading.Event(), threading.Event(), []

        def handler(event: TrainArrived, context: Context) -> None:
            runs.append(context.attempt)
            publish(DoorsOpened(train=f"{event.train} at attempt {context.attempt}"))
            if len(runs) == 1:
                entered.set()
                assert may_go_on.wait(PATIENCE)

        consumer = station.declare(handler, guarantee="at_least_once")
        [id] = arrive("ICE 1")
        relay()
        stopped = elsewhere(lambda: deliver_once(consumer))
        assert entered.wait(PATIENCE)
        assert bury() == 1
        run_until_idle()
        may_go_on.set()
        stopped.result(PATIENCE)
        assert outcomes(id) == ["crashed", "handled"]
        assert trains_of("tests.DoorsOpened") == ["ICE 1 at attempt 2"]
        assert verify().is_sound

    def test_chunk_in_which_a_neighbour_kills_the_process_does_the_others(self, station: Station) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if event.train == "ICE 13":
                kill_myself()
            write(event.train)

        consumer = station.declare(handler)
        arrive("ICE 12", "ICE 13", "ICE 14")
        relay()
        deaths = 0
        for _ in range(12):
            if not Delivery.objects.exists():
                break
            deaths += dies(lambda: deliver_once(consumer))
            bury()
        assert deaths == 4  # in company once, then three times alone
        assert ledger() == ["ICE 12", "ICE 14"]
        letter = DeadLetter.objects.get()
        assert (letter.reason, letter.attempts) == ("crash_loop", 3)
        assert set(Attempt.objects.filter(outcome="handled").values_list("number", flat=True)) == {1}
        assert verify().is_sound

    def test_bulk_replay_racing_a_running_consumer_does_each_once_for_each_run(self, station: Station) -> None:
        is_broken = True

        def handler(event: TrainArrived, context: Context) -> None:
            if is_broken:
                raise PermanentError
            write(f"{event.train} run {context.run}")

        consumer = station.declare(handler)
        letters = _dead_letters_of(arrive(*(f"RE {n:02}" for n in range(20))))
        is_broken = False
        ids = [letter.id for letter in letters]
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                relay()
                deliver_once(consumer)

        working = elsewhere(work)
        replays = [
            elsewhere(lambda who=who: replay_dead_letters(ids=ids, actor=who, reason="repaired")) for who in (ANA, BEN)
        ]
        done = [len(replay.result(PATIENCE).done) for replay in replays]
        stop.set()
        working.result(PATIENCE)
        run_until_idle()
        assert sorted(done) == [0, 20]
        assert ledger() == [f"RE {n:02} run 2" for n in range(20)]
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {"resolved"}


STEPS = {
    "exactly_once": [
        "claim.after", "lock.after", "handler.before", "handler.after", "settle.before", "settle.after",
        "alone.commit", "alone.committed",
    ],
    "at_least_once": [
        "claim.after", "lock.after", "handler.before", "handler.after", "settle.before", "settle.after",
        "at_least_once.commit", "at_least_once.committed",
    ],
    "at_most_once": [
        "claim.after", "lock.after", "settle.before", "settle.after", "at_most_once.commit", "at_most_once.committed",
        "handler.before", "handler.after", "at_most_once.outcome.commit", "at_most_once.outcome.committed",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("guarantee", "step"), [(name, step) for name, steps in STEPS.items() for step in steps])
def test_guarantee_holds_under_a_kill_at_every_step(station: Station, guarantee: Guarantee, step: str) -> None:
    def handler(event: TrainArrived, context: Context) -> None:
        Group.objects.create(name=f"key {context.idempotency_key} {context.attempt}")
        write(event.train)

    consumer = station.declare(handler, guarantee=guarantee, retry=NEVER_AGAIN)
    [id] = arrive("ICE 1")
    relay()
    assert dies(lambda: deliver_once(consumer), at=step)
    bury()
    run_until_idle()
    done = len(ledger())
    keys = {name.split()[1] for name in Group.objects.filter(name__startswith="key").values_list("name", flat=True)}
    assert len(keys) <= 1  # however often it ran: one run, one key
    assert not Delivery.objects.exists()
    if guarantee == "exactly_once":
        assert done == 1
    elif guarantee == "at_least_once":
        assert done == (2 if step in {"handler.after", "settle.before", "settle.after", "at_least_once.commit"} else 1)
    else:
        assert done == (0 if step in {"at_most_once.committed", "handler.before"} else 1)
    assert outcomes(id)[-1] == "handled"
    assert verify().is_sound


def _dead_letters_of(messages: list[UUID]) -> list[DeadLetter]:
    run_until_idle()
    return [dead(id) for id in messages]
