"""Ordering by key: per consumer and key in the order of the commits, whatever fails, dies or overtakes."""

from __future__ import annotations

import random
import threading
import time
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from messaging import Batch, Context, PermanentError, Retry, publish
from messaging.consumers import Consumer, consumer
from messaging.database import store
from messaging.delivery import loop
from messaging.delivery.delivering import deliver_claim
from messaging.delivery.loop import deliver_once
from messaging.delivery.sizing import Sizer
from messaging.errors import ConfigurationError
from messaging.ids import new_id
from messaging.models import DeadLetter, Delivery, KeyCounter, Message, OutboxEntry, Worker
from messaging.operations import discard_dead_letters, replay_dead_letters, resubmit_dead_letter
from messaging.pruning import prune
from messaging.publishing import publish_many
from messaging.rescue import rescue
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANA,
    ANNOUNCE,
    CLEAN,
    DoorsOpened,
    TrainArrived,
    arrive,
    dead,
    elsewhere,
    outcomes,
    relay,
    write,
)
from tests.shop import let_retries_come_due

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60
NEVER = Retry(immediate=0, delays=())
LATER = Retry(immediate=0, delays=("1h",))


def written() -> list[str]:
    """Return the trains in the order in which they were written down."""
    lines = Group.objects.filter(name__contains="/").order_by("id").values_list("name", flat=True)
    return [line.rpartition("/")[0] for line in lines]


def of(track: str, trains: list[str] | None = None) -> list[str]:
    """Return those of one track ("a 1", "a 2" are on track a)."""
    return [train for train in (written() if trains is None else trains) if train.split()[0] == track]


def on(track: str, count: int) -> list[str]:
    return [f"{track} {n:03}" for n in range(count)]


def arrive_on(track: str, count: int) -> list[UUID]:
    return arrive(*on(track, count), key=track)


def derails(*trains: str, error: type[Exception] = PermanentError) -> Any:
    def handler(event: TrainArrived, context: Context) -> None:
        write(event.train)
        if event.train in trains:
            raise error(f"{event.train} derailed")

    return handler


def claim_in_order(limit: int = 100, *, worker: UUID | None = None, name: str = ANNOUNCE) -> tuple[UUID, int]:
    token = new_id()
    worker = worker or new_id()
    return token, store().claim_in_order(consumer=name, token=token, worker=worker, limit=limit).claimed


def positions(*ids: UUID) -> list[int | None]:
    found = dict(Message.objects.filter(id__in=ids).values_list("id", "position"))
    return [found[id] for id in ids]


def is_anybody_waiting() -> bool:
    """Say whether a session of this database waits for a lock; on SQLite every second writer does."""
    if connection.vendor == "sqlite":
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock')"
        )
        return bool(cursor.fetchone()[0])


def work_until_idle(declared: Consumer) -> None:
    """Deliver as one of several workers: until nothing is left, not even with the others."""
    while Delivery.objects.filter(consumer=declared.name).exists():
        deliver_once(declared)


class TestPositions:
    def test_follow_the_publishes_without_gaps(self, station: Any) -> None:
        station.declare(ordered=True)
        first = positions(*arrive_on("a", 2), *arrive_on("a", 1))
        assert None not in first
        assert [position - first[0] for position in first if position and first[0]] == [0, 1, 2]

    def test_are_given_back_by_a_rollback(self, station: Any) -> None:
        station.declare(ordered=True)
        [before] = positions(*arrive_on("a", 1))
        with transaction.atomic():
            publish(TrainArrived(train="never"), key="a")
            transaction.set_rollback(True)
        [after] = positions(*arrive_on("a", 1))
        assert before is not None
        assert after == before + 1

    def test_of_one_statement_are_those_of_the_list(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 1)
        with transaction.atomic():
            ids = publish_many([TrainArrived(train=train) for train in on("a", 50)], key="a")
        found = positions(*ids)
        assert found == sorted(found, key=lambda position: position or 0)
        assert len(set(found)) == 50

    def test_are_not_taken_where_nobody_wants_order(self, station: Any) -> None:
        station.declare()
        assert positions(*arrive_on("a", 2)) == [None, None]
        assert not KeyCounter.objects.exists()

    def test_of_two_producers_are_in_the_order_of_their_commits(self, station: Any) -> None:
        station.declare(ordered=True)
        has_published, may_commit = threading.Event(), threading.Event()

        def slowly() -> UUID:
            with transaction.atomic():
                id = publish(TrainArrived(train="slow"), key="a")
                has_published.set()
                may_commit.wait(PATIENCE)
            return id

        slow = elsewhere(slowly)
        assert has_published.wait(PATIENCE)
        quick = elsewhere(lambda: arrive("quick", key="a")[0])
        while not quick.done() and not is_anybody_waiting():
            time.sleep(0.01)
        assert not quick.done()
        may_commit.set()
        first, second = positions(slow.result(PATIENCE), quick.result(PATIENCE))
        assert first is not None
        assert second == first + 1

    def test_of_many_keys_are_taken_by_two_producers_without_a_deadlock(self, station: Any) -> None:
        def spread(event: DoorsOpened, context: Context) -> None:
            keys = [f"k{n}" for n in range(10)]
            for key in keys if event.train == "up" else reversed(keys):
                publish(TrainArrived(train=f"{event.train} {key}"), key=key)

        station.declare(ordered=True)
        declared = station.declare(spread, to=DoorsOpened, name=CLEAN, retry=NEVER)
        for _ in range(10):
            with transaction.atomic():
                publish(DoorsOpened(train="up"))
                publish(DoorsOpened(train="down"))
        relay()
        for worker in [elsewhere(lambda: work_until_idle(declared)) for _ in range(2)]:
            worker.result(PATIENCE)
        assert outcomes(consumer=CLEAN) == ["handled"] * 20
        assert len(set(Message.objects.filter(type="tests.TrainArrived").values_list("key", "position"))) == 200

    def test_never_go_back_when_an_old_counter_was_pruned(self, station: Any) -> None:
        station.declare(ordered=True)
        ids = arrive_on("a", 2)
        KeyCounter.objects.update(last=KeyCounter.objects.get().last - 3 * 86_400_000_000)
        assert prune()["messaging_keycounter"] == 1
        before, after = positions(ids[-1], *arrive_on("a", 1))
        assert before is not None
        assert after is not None
        assert after > before

    def test_of_a_counter_in_use_are_kept_by_pruning(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 1)
        assert prune()["messaging_keycounter"] == 0
        assert KeyCounter.objects.count() == 1


class TestOrder:
    def test_of_a_key_is_kept_by_many_workers(self, station: Any) -> None:
        declared = station.declare(ordered=True)
        tracks = "abcde"
        for n in range(20):
            arrive(*(f"{track} {n:03}" for track in tracks), key=None)  # noise without a key
            for track in tracks:
                arrive(f"{track} {n:03}k", key=track)
        relay()
        workers = [elsewhere(lambda: work_until_idle(declared)) for _ in range(3)]
        for worker in workers:
            worker.result(PATIENCE)
        for track in tracks:
            keyed = [train for train in of(track) if train.endswith("k")]
            assert keyed == [f"{track} {n:03}k" for n in range(20)]
        assert len(written()) == 200
        assert verify().is_sound

    def test_of_two_keys_runs_side_by_side(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 3)
        arrive_on("b", 3)
        relay()
        one, two = claim_in_order(1), claim_in_order(1)
        assert [one[1], two[1], claim_in_order()[1]] == [1, 1, 0]
        assert {row.key for row in Delivery.objects.filter(claim_token__in=[one[0], two[0]])} == {"a", "b"}

    def test_claims_a_run_of_one_key_together(self, station: Any) -> None:
        declared = station.declare(ordered=True)
        arrive_on("a", 5)
        relay()
        assert deliver_once(declared) == 5
        assert written() == on("a", 5)

    def test_waits_for_an_earlier_one_in_the_outbox(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 2)
        relay()
        [first, second] = Delivery.objects.order_by("position")
        held = OutboxEntry.objects.create(
            message_id=first.message_id, type="tests.TrainArrived", key="a", position=first.position,
            created_at=first.created_at,
        )  # fmt: skip
        first.delete()
        assert claim_in_order()[1] == 0
        held.delete()
        token, _ = claim_in_order()
        assert Delivery.objects.get(claim_token=token).message_id == second.message_id

    def test_takes_no_follower_past_one_in_the_outbox(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 3)
        relay()
        [first, second, _] = Delivery.objects.order_by("position")
        OutboxEntry.objects.create(
            message_id=second.message_id, type="tests.TrainArrived", key="a", position=second.position,
            created_at=second.created_at,
        )  # fmt: skip
        second.delete()
        token, _ = claim_in_order()
        assert [row.message_id for row in Delivery.objects.filter(claim_token=token)] == [first.message_id]

    @pytest.mark.only_on("postgresql")
    def test_waits_for_an_earlier_one_that_a_relay_has_in_hand(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 2)
        has_taken, may_commit = threading.Event(), threading.Event()

        def relay_slowly() -> None:
            with transaction.atomic():
                store().relay(1)
                has_taken.set()
                may_commit.wait(PATIENCE)

        slow = elsewhere(relay_slowly)
        assert has_taken.wait(PATIENCE)
        assert relay() == 1  # the second
        assert claim_in_order()[1] == 0
        may_commit.set()
        slow.result(PATIENCE)
        assert claim_in_order()[1] == 2

    def test_is_kept_over_a_retry_that_holds_only_its_key(self, station: Any) -> None:
        station.declare(derails("a 001", error=ValueError), ordered=True, retry=LATER)
        arrive_on("a", 4)
        arrive_on("b", 4)
        run_until_idle()
        assert of("a") == ["a 000"]
        assert of("b") == on("b", 4)
        station.declare(ordered=True, retry=LATER)
        let_retries_come_due()
        run_until_idle()
        assert of("a") == on("a", 4)

    @pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
    def test_stops_in_the_middle_of_a_claim_at_one_that_fails(self, station: Any, guarantee: str) -> None:
        seen: list[str] = []

        def handler(event: TrainArrived, context: Context) -> None:
            seen.append(event.train)
            if event.train == "a 002":
                raise ValueError("derailed")

        station.declare(handler, ordered=True, guarantee=guarantee, retry=LATER)
        ids = arrive_on("a", 6)
        arrive_on("b", 2)
        run_until_idle()
        assert {train for train in seen if train.startswith("a")} == {"a 000", "a 001", "a 002"}
        assert [outcomes(id) for id in ids] == [["handled"]] * 2 + [["retried"]] + [[]] * 3
        assert not Delivery.objects.exclude(claim_token=None).exists()

    def test_is_kept_over_immediate_retries(self, station: Any) -> None:
        tries = iter(range(3))

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "a 001" and next(tries, None) is not None:
                raise ValueError("not yet")

        station.declare(handler, ordered=True, retry=Retry(immediate=5, delays=()))
        arrive_on("a", 4)
        run_until_idle()
        assert written() == on("a", 4)

    def test_is_kept_when_chunks_conflict(self, station: Any) -> None:
        tries = iter(range(3))

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "a 002" and connection.vendor == "postgresql" and next(tries, None) is not None:
                with connection.cursor() as cursor:
                    cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")

        station.declare(handler, ordered=True, retry=NEVER)
        arrive_on("a", 8)
        run_until_idle()
        assert written() == on("a", 8)

    def test_survives_the_death_of_the_worker(self, station: Any) -> None:
        declared = station.declare(ordered=True)
        arrive_on("a", 4)
        relay()
        gone = Worker.objects.create(role="worker", name="gone", host="h", pid=1, started_at=store().now(),
                                     heartbeat_at=store().now())  # fmt: skip
        _, claimed = claim_in_order(worker=gone.id)
        assert claimed == 4
        gone.delete()
        assert rescue() == 4
        assert deliver_once(declared) == 1  # what a death gave back runs alone
        run_until_idle()
        assert written() == on("a", 4)

    def test_lets_no_late_worker_run_what_follows_a_claim_it_lost(self, station: Any) -> None:
        seen: list[str] = []

        def handler(event: TrainArrived, context: Context) -> None:
            seen.append(event.train)
            # Half a rescue: another process gave this one back while its worker was silent.
            Delivery.objects.filter(message_id=context.message_id).update(claim_token=None, worker=None)

        declared = station.declare(handler, ordered=True, guarantee="at_least_once")
        arrive_on("a", 3)
        relay()
        token, claimed = claim_in_order()
        assert claimed == 3
        deliver_claim(declared, token, Sizer())
        assert seen == ["a 000"]

    def test_reaches_the_keys_behind_many_that_must_wait(self, station: Any) -> None:
        station.declare(derails(*(f"{n:03}a 000" for n in range(60))), ordered=True, retry=NEVER)
        for n in range(60):
            arrive_on(f"{n:03}a", 3)
        arrive_on("z", 3)
        run_until_idle()
        assert written() == on("z", 3)
        assert DeadLetter.objects.filter(blocks=True).count() == 60

    def test_is_left_by_a_release_that_does_not_want_it(self, station: Any) -> None:
        station.declare(derails("a 000"), ordered=True, retry=NEVER)
        arrive_on("a", 2)
        run_until_idle()
        station.declare(ordered=False)
        synchronise(is_deploy=True)
        arrive_on("a", 1)
        run_until_idle()
        assert written() == ["a 001", "a 000"]

    @pytest.mark.parametrize("seed", range(10))
    def test_holds_in_any_interleaving(self, station: Any, seed: int) -> None:
        chance = random.Random(seed)

        def handler(event: TrainArrived, context: Context) -> None:
            if chance.random() < 0.2:
                raise ValueError("bad luck")
            write(event.train)

        declared = station.declare(handler, ordered=True, retry=Retry(immediate=200, delays=()))
        counts = {"a": 0, "b": 0, "c": 0}
        held: list[UUID] = []

        def produce() -> None:
            track = chance.choice("abc")
            arrive(f"{track} {counts[track]:03}", key=track)
            counts[track] += 1

        def hold() -> None:
            token, claimed = claim_in_order(chance.randint(1, 4))
            held.extend([token] * bool(claimed))

        def finish() -> None:
            if held:
                token = held.pop(chance.randrange(len(held)))
                deliver_claim(declared, token, Sizer())
                loop.release(token)

        def give_back() -> None:
            if held:
                loop.release(held.pop(chance.randrange(len(held))))

        steps = [produce, produce, lambda: store().relay(chance.randint(1, 3)), hold, finish, give_back]
        for _ in range(150):
            chance.choice(steps)()
        while held:
            finish()
        run_until_idle()
        for track, count in counts.items():
            assert of(track) == on(track, count)


class TestBlock:
    def test_holds_what_follows_a_dead_letter_of_the_key(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, retry=NEVER)
        arrive_on("a", 4)
        arrive_on("b", 2)
        run_until_idle()
        assert of("a") == ["a 000"]
        assert of("b") == on("b", 2)
        assert DeadLetter.objects.get().blocks

    def test_ends_when_the_dead_letter_is_replayed_first(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, retry=NEVER)
        [_, bad, *_] = arrive_on("a", 4)
        run_until_idle()
        station.declare(ordered=True, retry=NEVER)
        replay_dead_letters(ids=[dead(bad).id], actor=ANA, reason="mended")
        run_until_idle()
        assert written() == on("a", 4)

    def test_goes_on_when_the_replay_fails_again(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, retry=NEVER)
        [_, bad, *_] = arrive_on("a", 4)
        run_until_idle()
        replay_dead_letters(ids=[dead(bad).id], actor=ANA, reason="not mended")
        run_until_idle()
        assert written() == ["a 000"]

    def test_ends_when_an_edited_copy_is_handled_in_its_place(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, retry=NEVER)
        [_, bad, *_] = arrive_on("a", 3)
        run_until_idle()
        copy = resubmit_dead_letter(id=dead(bad).id, body='{"train": "a mended"}', actor=ANA, reason="typo")
        run_until_idle()
        assert written() == ["a 000", "a mended", "a 002"]
        assert positions(bad) == positions(copy.message_id)

    def test_ends_when_the_dead_letter_is_discarded(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, retry=NEVER)
        [_, bad, *_] = arrive_on("a", 3)
        run_until_idle()
        discard_dead_letters(ids=[dead(bad).id], actor=ANA, reason="not needed")
        run_until_idle()
        assert written() == ["a 000", "a 002"]

    def test_holds_in_the_middle_of_a_claim(self, station: Any) -> None:
        declared = station.declare(derails("a 001"), ordered=True, retry=NEVER)
        arrive_on("a", 4)
        relay()
        assert deliver_once(declared) == 4
        assert written() == ["a 000"]
        assert list(Delivery.objects.values_list("claim_token", flat=True)) == [None, None]

    def test_is_made_by_a_crash_loop_too(self, station: Any) -> None:
        station.declare(ordered=True)
        arrive_on("a", 2)
        relay()
        for _ in range(3):
            claim_in_order(1)
            Worker.objects.all().delete()
            rescue()
        assert DeadLetter.objects.get().blocks
        assert claim_in_order()[1] == 0


class TestSkip:
    def test_goes_on_behind_a_dead_letter(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, on_failure="skip", retry=NEVER)
        arrive_on("a", 4)
        run_until_idle()
        assert written() == ["a 000", "a 002", "a 003"]
        assert not DeadLetter.objects.get().blocks

    def test_still_waits_for_a_retry(self, station: Any) -> None:
        station.declare(derails("a 001", error=ValueError), ordered=True, on_failure="skip", retry=LATER)
        arrive_on("a", 4)
        run_until_idle()
        assert written() == ["a 000"]

    def test_of_a_later_release_frees_what_was_blocked(self, station: Any) -> None:
        station.declare(derails("a 001"), ordered=True, retry=NEVER)
        arrive_on("a", 3)
        run_until_idle()
        station.declare(derails("a 001"), ordered=True, on_failure="skip", retry=NEVER)
        synchronise(is_deploy=True)
        run_until_idle()
        assert written() == ["a 000", "a 002"]


class TestDeclaration:
    @pytest.mark.parametrize(
        ("given", "word"),
        [
            ({"ordered": True, "guarantee": "at_most_once"}, "at_most_once"),
            ({"ordered": True, "batch": Batch(size=10, seconds=1)}, "batch="),
            ({"ordered": True, "on_failure": "wait"}, "'wait'"),
            ({"on_failure": "skip"}, "ordered=True"),
        ],
    )
    def test_that_cannot_be_kept_is_refused(self, given: dict[str, Any], word: str) -> None:
        with pytest.raises(ConfigurationError, match=word):
            consumer(TrainArrived, name="station.never", **given)
