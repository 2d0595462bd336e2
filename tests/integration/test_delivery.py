"""Claim, deliver, decide, settle: chunks that share a commit, and messages that pay for themselves only."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, connections, transaction

from messaging import Context, PermanentError, Retry, RetryLater, publish
from messaging.delivery.delivering import deliver_claim
from messaging.delivery.loop import deliver_once, deliver_waiting
from messaging.delivery.sizing import Sizer
from messaging.ids import new_id
from messaging.models import Attempt, DeadLetter, Delivery, Message, RollupDelta
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANNOUNCE,
    TicketSold,
    TicketSoldOnPaper,
    TrainArrived,
    arrive,
    claim,
    dead,
    ledger,
    outcomes,
    pending,
    relay,
    write,
)
from tests.shop import let_retries_come_due

pytestmark = pytest.mark.django_db(transaction=True)


def fails_on(*trains: str, error: type[Exception] = ValueError) -> Any:
    def handler(event: TrainArrived, context: Context) -> None:
        write(event.train)
        if event.train in trains:
            raise error(f"{event.train} derailed")

    return handler


class TestChunk:
    def test_shares_one_transaction(self, station: Any) -> None:
        seen = []

        def handler(event: TrainArrived, context: Context) -> None:
            seen.append(len(ledger()))
            write(event.train)

        consumer = station.declare(handler)
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        assert deliver_once(consumer) == 3
        assert seen == [0, 1, 2]
        assert len(set(RollupDelta.objects.filter(outcome="handled").values_list("count", flat=True))) == 1
        assert RollupDelta.objects.get(outcome="handled").count == 3

    def test_keeps_a_poisoned_message_from_its_neighbours(self, station: Any) -> None:
        station.declare(fails_on("ICE 3", error=PermanentError))
        ids = arrive(*(f"ICE {n}" for n in range(6)))
        run_until_idle()
        assert ledger() == ["ICE 0", "ICE 1", "ICE 2", "ICE 4", "ICE 5"]
        assert [outcomes(each) for each in ids] == [["handled"]] * 3 + [["dead_lettered"]] + [["handled"]] * 2
        assert set(Attempt.objects.filter(outcome="handled").values_list("number", flat=True)) == {1}

    def test_costs_neighbours_no_failure_while_one_is_retried(self, station: Any) -> None:
        station.declare(fails_on("ICE 2"), retry=Retry(immediate=2, delays=("1h",)))
        [_, bad, _] = arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        assert outcomes(bad) == ["retried"] * 3
        assert Counter(outcomes()) == {"retried": 3, "handled": 2}
        assert list(Delivery.objects.values_list("message_id", "failures")) == [(bad, 3)]

    def test_blames_the_handler_that_swallowed_a_database_error(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 13":
                try:
                    with transaction.atomic(savepoint=False):
                        Group.objects.create(name="taken")
                        Group.objects.create(name="taken")
                except IntegrityError:
                    pass

        station.declare(handler)
        [_, bad, _] = arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        assert ledger() == ["ICE 12", "ICE 14"]
        assert dead(bad).error_type == "SwallowedDatabaseError"
        assert "savepoint" in dead(bad).error_message

    def test_blames_the_handler_that_swallowed_an_error_without_any_block(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 13":
                try:
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT * FROM no_such_table")
                except Exception:  # noqa: BLE001  the mistake under test
                    pass

        station.declare(handler)
        [_, bad, _] = arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        if connection.vendor == "postgresql":
            assert ledger() == ["ICE 12", "ICE 14"]
            assert dead(bad).error_type == "SwallowedDatabaseError"
        else:  # the failed statement did nothing, and SQLite's transaction goes on
            assert ledger() == ["ICE 12", "ICE 13", "ICE 14"]

    @pytest.mark.parametrize("mischief", ["set_rollback", "close"])
    def test_blames_the_handler_that_tampers_with_its_transaction(self, station: Any, mischief: str) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 13":
                transaction.set_rollback(True) if mischief == "set_rollback" else connection.close()

        station.declare(handler)
        [_, bad, _] = arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        assert ledger() == ["ICE 12", "ICE 14"]
        assert dead(bad).reason == "permanent"

    def test_blames_the_message_whose_constraint_fails_at_commit(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 13":
                Group.permissions.through.objects.create(group_id=999_999, permission_id=1)

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        [_, bad, _] = arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        assert ledger() == ["ICE 12", "ICE 14"]
        assert (dead(bad).error_type, dead(bad).reason) == ("IntegrityError", "exhausted")
        assert DeadLetter.objects.count() == 1

    def test_does_not_run_again_because_a_callback_after_commit_failed(self, station: Any) -> None:
        called = []

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)

            def callback() -> None:
                called.append(event.train)
                raise ValueError("the mail server is away")

            transaction.on_commit(callback)

        station.declare(handler)
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        assert sorted(called) == ["ICE 1", "ICE 2"]
        assert ledger() == ["ICE 1", "ICE 2"]
        assert outcomes() == ["handled", "handled"]

    def test_runs_no_callback_of_a_handler_that_failed(self, station: Any) -> None:
        called = []

        def handler(event: TrainArrived, context: Context) -> None:
            transaction.on_commit(lambda: called.append(event.train))
            if event.train == "ICE 2":
                raise PermanentError

        station.declare(handler)
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        assert called == ["ICE 1", "ICE 3"]

    def test_survives_an_error_that_cannot_be_printed(self, station: Any) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        def handler(event: TrainArrived, context: Context) -> None:
            raise Unprintable

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert dead(message_id).error_type.endswith("Unprintable")

    def test_keeps_an_error_with_characters_no_database_stores(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            raise ValueError("nul \x00 half \ud800 " + "x" * 100_000)

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert dead(message_id).error_message.startswith("nul \\x00 half \\ud800 xxx")

    def test_treats_a_handler_that_exits_as_one_that_failed(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 13":
                raise SystemExit(3)

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        [_, bad, _] = arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        assert ledger() == ["ICE 12", "ICE 14"]
        assert dead(bad).error_type == "SystemExit"

    def test_gives_back_a_claim_when_something_unforeseen_ends_it(self, station: Any) -> None:
        class PulledThePlug(BaseException):
            pass

        def handler(event: TrainArrived, context: Context) -> None:
            raise PulledThePlug

        consumer = station.declare(handler)
        [message_id] = arrive("ICE 1")
        relay()
        with pytest.raises(PulledThePlug):
            deliver_once(consumer)
        assert (pending(message_id).claim_token, pending(message_id).failures) == (None, 0)


class TestRetry:
    def test_comes_at_once_then_after_each_delay_then_ends(self, station: Any) -> None:
        station.declare(fails_on("ICE 1"), retry=Retry(immediate=1, delays=("10s", "1m")))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        attempts = list(Attempt.objects.order_by("id"))
        assert [each.outcome for each in attempts] == ["retried", "retried"]
        assert waited(attempts[0]) < timedelta(seconds=5)
        assert timedelta(seconds=9) < waited(attempts[1]) < timedelta(seconds=60)
        assert pending(message_id).available_at == attempts[1].next_at
        let_retries_come_due()
        attempts = list(Attempt.objects.order_by("id"))
        assert [each.outcome for each in attempts] == ["retried"] * 3 + ["dead_lettered"]
        assert [each.number for each in attempts] == [1, 2, 3, 4]
        assert timedelta(seconds=59) < waited(attempts[2]) < timedelta(minutes=2)
        letter = dead(message_id)
        assert (letter.reason, letter.attempts, letter.state) == ("exhausted", 4, "open")
        assert not Delivery.objects.exists()
        assert ledger() == []

    def test_is_not_claimed_before_its_time(self, station: Any) -> None:
        station.declare(fails_on("ICE 1"), retry=Retry(immediate=0, delays=("1h",)))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert run_until_idle() == 0
        assert outcomes(message_id) == ["retried"]

    def test_tells_the_handler_which_attempt_it_is(self, station: Any) -> None:
        seen: list[tuple[int, int]] = []

        def handler(event: TrainArrived, context: Context) -> None:
            seen.append((context.run, context.attempt))
            raise ValueError

        station.declare(handler, retry=Retry(immediate=2, delays=()))
        arrive("ICE 1")
        run_until_idle()
        assert sorted(set(seen)) == [(1, 1), (1, 2), (1, 3)]

    def test_is_not_made_of_a_permanent_error(self, station: Any) -> None:
        station.declare(fails_on("ICE 1", error=KeyError), retry=Retry(permanent=(LookupError,)))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert (dead(message_id).reason, dead(message_id).attempts) == ("permanent", 1)

    def test_is_not_made_of_an_ignored_error_and_its_writes_go(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            publish(TicketSold(price="1", currency="EUR"))
            raise KeyError

        station.declare(handler, retry=Retry(ignore=(KeyError,)))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert outcomes(message_id) == ["ignored"]
        assert (ledger(), DeadLetter.objects.count(), Delivery.objects.count()) == ([], 0, 0)
        assert not Message.objects.filter(type="tests.TicketSold").exists()
        assert verify().is_sound

    def test_costs_nothing_when_the_handler_asked_for_it(self, station: Any) -> None:
        signal = {"is_green": False}

        def handler(event: TrainArrived, context: Context) -> None:
            if not signal["is_green"]:
                raise RetryLater(after=30, message="the signal is red")
            write(event.train)

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        [message_id] = arrive("ICE 1")
        run_until_idle()
        for _ in range(3):
            Delivery.objects.update(available_at=pending(message_id).created_at)
            run_until_idle()
        row = pending(message_id)
        assert (outcomes(message_id), row.failures) == (["postponed"] * 4, 0)
        last = Attempt.objects.order_by("-id")[0]
        assert timedelta(seconds=29) < waited(last) < timedelta(seconds=60)
        signal["is_green"] = True
        let_retries_come_due()
        assert ledger() == ["ICE 1"]

    def test_is_put_off_no_further_than_a_date_can_be_written(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            raise RetryLater(after=1e13)

        station.declare(handler)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        assert outcomes(message_id) == ["postponed"]
        assert pending(message_id).claim_token is None


class TestContract:
    def test_of_an_old_version_is_lifted_for_todays_consumer(self, station: Any) -> None:
        sold = []
        station.declare(lambda event, context: sold.append(event), to=TicketSold)
        with transaction.atomic():
            publish(TicketSoldOnPaper(price="4.50"))
            publish(TicketSold(price="5.00", currency="CHF"))
        run_until_idle()
        assert sold == [TicketSold(price="4.50", currency="EUR"), TicketSold(price="5.00", currency="CHF")]

    def test_that_nobody_knows_any_more_is_a_dead_letter_at_once(self, station: Any) -> None:
        station.declare()
        [message_id] = arrive("ICE 1")
        Message.objects.filter(id=message_id).update(version=99)
        run_until_idle()
        assert (dead(message_id).reason, dead(message_id).attempts) == ("contract", 1)

    def test_violated_by_the_stored_body_is_a_dead_letter_at_once(self, station: Any) -> None:
        station.declare()
        [good, bad] = arrive("ICE 1", "ICE 2")
        Message.objects.filter(id=bad).update(body=b'{"train": 5}')
        run_until_idle()
        assert dead(bad).reason == "contract"
        assert outcomes(good) == ["handled"]

    def test_of_a_message_whose_row_is_gone_is_a_dead_letter(self, station: Any) -> None:
        station.declare()
        [message_id] = arrive("ICE 1")
        relay()
        Message.objects.filter(id=message_id).delete()
        run_until_idle()
        assert "retention" in dead(message_id).error_message


class TestClaim:
    def test_tells_that_the_connection_works_so_that_nothing_else_asks(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        consumer = station.declare(lambda event, context: write(event.train))
        arrive("ICE 1")
        run_until_idle()  # a worker that has begun: it no longer registers, nor reads limits before its claim
        arrive("ICE 2")
        relay()

        def is_usable() -> bool:
            asked.append("SELECT 1")
            return True

        wrapper: Any = connections["default"]
        with monkeypatch.context() as patch:
            patch.setattr(wrapper, "health_check_enabled", wrapper.vendor == "postgresql")
            patch.setattr(wrapper, "health_check_done", False)  # as before every task of a worker
            patch.setattr(wrapper, "is_usable", is_usable)
            deliver_waiting(consumer.name)
        assert (ledger(), asked) == (["ICE 1", "ICE 2"], [])

    def test_leaves_a_trace_before_the_handler_runs(self, station: Any) -> None:
        seen = []

        def handler(event: TrainArrived, context: Context) -> None:
            row = Delivery.objects.get(message_id=context.message_id)
            seen.append((row.claim_token is not None, row.worker is not None, row.claimed_at is not None))

        station.declare(handler)
        arrive("ICE 1")
        run_until_idle()
        assert seen[0] == (True, True, True)

    def test_under_another_token_runs_nothing(self, station: Any) -> None:
        consumer = station.declare()
        arrive("ICE 1")
        relay()
        stale = claim()
        Delivery.objects.update(claim_token=new_id())
        deliver_claim(consumer, stale, Sizer())
        assert (ledger(), outcomes()) == ([], [])
        assert Delivery.objects.count() == 1

    def test_returns_what_a_slice_did_not_reach(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        station.declare()
        arrive(*(f"RE {n}" for n in range(30)))
        relay()
        assert deliver_waiting(ANNOUNCE) is False
        assert len(ledger()) == 30

    def test_for_a_consumer_of_another_release_waits(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        relay()
        station.forget(ANNOUNCE)
        assert deliver_waiting(ANNOUNCE) is False
        assert Delivery.objects.filter(claim_token=None).count() == 1


def waited(attempt: Attempt) -> timedelta:
    assert attempt.next_at is not None
    return attempt.next_at - attempt.started_at
