"""Two connections at once, and connections that die: who wins, and that nobody pays who should not."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections
from django.db.models import F
from django.db.utils import InterfaceError

from examples.ecommerce.inventory.models import StockItem
from messaging import Context, Retry
from messaging.consumers import Consumer
from messaging.database import store
from messaging.database.postgresql import session_name
from messaging.delivery import loop
from messaging.delivery.loop import deliver_once, deliver_waiting
from messaging.delivery.presence import name_session, presence
from messaging.ids import new_id
from messaging.models import Delivery, Worker
from messaging.rescue import rescue
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANNOUNCE,
    CLEAN,
    TrainArrived,
    arrive,
    claim,
    elsewhere,
    ledger,
    outcomes,
    relay,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60

ONLY_POSTGRESQL = pytest.mark.only_on("postgresql")  # SQLite has one writer and no server that could end a session


def work_until_done(consumer: Consumer) -> int:
    """Deliver until nothing is left, given-back claims included."""
    total = 0
    while Delivery.objects.filter(consumer=consumer.name).exists():
        total += deliver_once(consumer)
    return total


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def end_session(pid: int) -> None:
    """End one of this test's own sessions, as a server that restarts does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND datname = current_database()",
            [pid],
        )
        assert cursor.fetchone() == (True,)


class TestTwoWorkers:
    def test_claim_disjoint_rows(self, station: Any) -> None:
        station.declare()
        arrive(*(f"RE {n}" for n in range(200)))
        relay()
        start = threading.Barrier(4)

        def claim_some() -> list[UUID]:
            start.wait(PATIENCE)
            return [claim(limit=7, worker=new_id()) for _ in range(5)]

        claims = [elsewhere(claim_some) for _ in range(4)]
        tokens = [token for future in claims for token in future.result(PATIENCE)]
        held = [Delivery.objects.filter(claim_token=token).count() for token in tokens]
        assert held == [7] * 20
        assert Delivery.objects.filter(claim_token=None).count() == 200 - 140

    def test_handle_every_message_once(self, station: Any) -> None:
        consumer = station.declare()
        arrive(*(f"RE {n:03}" for n in range(150)))
        relay()
        workers = [elsewhere(lambda: work_until_done(consumer)) for _ in range(3)]
        assert sum(future.result(PATIENCE) for future in workers) >= 150
        assert ledger() == [f"RE {n:03}" for n in range(150)]
        assert outcomes().count("handled") == 150
        assert verify().is_sound

    def test_pay_nothing_when_their_chunks_lock_the_same_rows_in_opposite_order(self, station: Any) -> None:
        skus = ["MUG-BLUE", "TEE-BLACK"]
        StockItem.objects.bulk_create([StockItem(sku=f"x-{sku}", received=0, available=0) for sku in skus])

        def handler(event: TrainArrived, context: Context) -> None:
            number = int(event.train)
            for sku in skus if number % 2 else reversed(skus):
                StockItem.objects.filter(sku=f"x-{sku}").update(received=F("received") + 1)

        consumer = station.declare(handler, retry=Retry(immediate=0, delays=()))
        arrive(*(str(n) for n in range(80)))
        relay()
        workers = [elsewhere(lambda: work_until_done(consumer)) for _ in range(2)]
        for future in workers:
            future.result(PATIENCE)
        assert {StockItem.objects.get(sku=f"x-{sku}").received for sku in skus} == {80}
        assert set(outcomes()) == {"handled"}
        assert len(outcomes()) == 80

    @ONLY_POSTGRESQL
    def test_take_turns_once_their_chunks_met_on_the_same_rows(
        self, station: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        StockItem.objects.bulk_create([StockItem(sku=f"x-{n}", received=0, available=0) for n in range(5)])

        def handler(event: TrainArrived, context: Context) -> None:
            StockItem.objects.filter(sku=f"x-{int(event.train) % 7 % 5}").update(received=F("received") + 1)

        consumer = station.declare(handler, retry=Retry(immediate=0, delays=()))
        arrive(*(str(n) for n in range(600)))
        relay()
        workers = [elsewhere(lambda: work_until_done(consumer)) for _ in range(3)]
        for future in workers:
            future.result(PATIENCE)
        assert sum(StockItem.objects.filter(sku__startswith="x-").values_list("received", flat=True)) == 600
        assert outcomes().count("handled") == len(outcomes()) == 600
        given_back = [record for record in caplog.records if record.name == "messaging.delivery"]
        assert len(given_back) <= 8  # each of three workers meets another once; without turns it goes on and on

    @ONLY_POSTGRESQL
    def test_meet_in_a_serialisation_failure_that_costs_nothing(self, station: Any) -> None:
        failures = iter([True, True, False])

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if next(failures, False):
                with connection.cursor() as cursor:
                    cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'try again' USING ERRCODE = '40001'; END $$")

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2", "ICE 3"]
        assert outcomes() == ["handled"] * 3


class TestLostConnection:
    @ONLY_POSTGRESQL
    def test_in_mid_delivery_loses_and_doubles_nothing(self, station: Any) -> None:
        killed = []

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 2" and not killed:
                pid = backend()
                killed.append(pid)
                elsewhere(lambda: end_session(pid)).result(PATIENCE)
                write("never")

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2", "ICE 3"]
        assert outcomes() == ["handled"] * 3
        assert len(killed) == 1

    @ONLY_POSTGRESQL
    def test_just_before_the_commit_loses_and_doubles_nothing(self, station: Any) -> None:
        killed = []

        def handler(event: TrainArrived, context: Context) -> None:
            write(event.train)
            if event.train == "ICE 3" and not killed:  # the last of its chunk: the next statement is the bus's own
                killed.append(backend())
                elsewhere(lambda: end_session(killed[0])).result(PATIENCE)

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2", "ICE 3"]
        assert outcomes() == ["handled"] * 3

    def test_that_swallows_the_answer_to_a_claim_leaves_no_claim_behind(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim_some, lost = store().claim, []

        def claim_and_lose_the_answer(**what: Any) -> int:
            claimed = claim_some(**what)
            if claimed and not lost:
                lost.append(claimed)
                raise InterfaceError("the connection is lost")
            return claimed

        station.declare()
        arrive("ICE 1")
        relay()
        monkeypatch.setattr(store(), "claim", claim_and_lose_the_answer)
        deliver_waiting(ANNOUNCE)  # the worker lives on, so rescue would never take this claim from it
        deliver_waiting(ANNOUNCE)
        assert ledger() == ["ICE 1"]
        assert lost == [1]

    @ONLY_POSTGRESQL
    def test_before_the_answer_to_a_claim_leaves_nothing_claimed(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """This worker lives on, so no rescue would ever take back what it does not know it holds."""
        station.declare()
        arrive("ICE 1", "ICE 2")
        relay()
        claims, lost = loop._claim, []

        def answer_is_lost(*arguments: Any, **named: Any) -> int:
            claimed = claims(*arguments, **named)
            if claimed and not lost:
                lost.append(backend())
                elsewhere(lambda: end_session(lost[0])).result(PATIENCE)
                write("never")
            return claimed

        monkeypatch.setattr(loop, "_claim", answer_is_lost)
        assert not deliver_waiting(ANNOUNCE)
        assert len(lost) == 1
        assert Delivery.objects.filter(claim_token=None).count() == 2
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2"]

    @ONLY_POSTGRESQL
    def test_between_two_wake_ups_is_noticed_and_replaced(self, station: Any) -> None:
        """A worker's thread keeps its connection over tasks: a restarted server must not stop it for good."""
        from messaging.tasks import deliver, fold_rollups

        station.declare()
        arrive("ICE 1")
        relay()

        def worker() -> list[str]:
            deliver_waiting("nobody")
            name_session(presence().id)
            pid = backend()
            elsewhere(lambda: end_session(pid)).result(PATIENCE)
            runs = [deliver.apply(args=[ANNOUNCE]), deliver.apply(args=[ANNOUNCE]), fold_rollups.apply()]
            return [str(run.result) for run in runs if run.failed()]

        errors = elsewhere(worker).result(PATIENCE)
        assert len(errors) <= 1, errors
        assert ledger() == ["ICE 1"]


class TestSilentWorker:
    @ONLY_POSTGRESQL
    def test_has_its_session_ended_so_that_its_rows_come_back(self, station: Any) -> None:
        """A frozen process: its heartbeat stopped, its delivering transaction is still open."""
        consumer = station.declare(lambda event, context: frozen(event), retry=Retry(immediate=0, delays=()))
        is_inside, may_go_on = threading.Event(), threading.Event()
        runs = []

        def frozen(event: TrainArrived) -> None:
            runs.append(event.train)
            write(event.train)
            if len(runs) == 1:
                is_inside.set()
                assert may_go_on.wait(PATIENCE)

        arrive("ICE 1")
        relay()
        zombie = elsewhere(lambda: deliver_once(consumer))
        assert is_inside.wait(PATIENCE)
        Worker.objects.update(heartbeat_at="2020-01-01T00:00:00Z")
        freed = 0
        for _ in range(200):
            freed += rescue()
            if freed:
                break
            threading.Event().wait(0.05)
        assert freed == 1
        run_until_idle()
        assert ledger() == ["ICE 1"]
        may_go_on.set()
        zombie.result(PATIENCE)
        assert ledger() == ["ICE 1"]
        assert outcomes() == ["crashed", "handled"]

    @ONLY_POSTGRESQL
    def test_is_known_by_its_session_also_after_its_handler_closed_one(self, station: Any) -> None:
        """A handler that calls out for long holds no connection meanwhile; its outcome is settled on the next one."""
        names = []

        def handler(event: TrainArrived, context: Context) -> None:
            connection.close()
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('application_name')")
                names.append(cursor.fetchone()[0])

        consumer = station.declare(handler, guarantee="at_least_once")
        arrive("ICE 1")
        relay()
        deliver_once(consumer)
        assert names == [session_name(presence().id)]

    def test_writes_nothing_when_it_wakes_up(self, station: Any) -> None:
        """The zombie runs its handler to the end under a claim that another worker took over."""
        consumer = station.declare(guarantee="at_least_once")
        arrive("ICE 1")
        relay()
        stale = claim()
        Worker.objects.all().delete()
        assert rescue() == 1
        from messaging.delivery.delivering import deliver_claim
        from messaging.delivery.sizing import Sizer

        deliver_claim(consumer, stale, Sizer())
        assert outcomes() == ["crashed"]
        assert store().release(stale) == 0


def test_connections_of_other_threads_are_their_own() -> None:
    mine = id(connections["default"])
    assert elsewhere(lambda: id(connections["default"])).result(PATIENCE) != mine


class TestSlowConsumer:
    @ONLY_POSTGRESQL
    def test_delays_no_other_while_its_transaction_is_open(self, station: Any) -> None:
        entered, may_end = threading.Event(), threading.Event()

        def slow(event: TrainArrived, context: Context) -> None:
            entered.set()
            may_end.wait(PATIENCE)

        sweeper = station.declare(slow, name=CLEAN)
        announcer = station.declare()
        arrive("ICE 1")
        relay()
        cleaning = elsewhere(lambda: deliver_once(sweeper))
        assert entered.wait(PATIENCE)
        assert deliver_once(announcer) == 1
        assert (ledger(), outcomes(consumer=CLEAN)) == (["ICE 1"], [])  # one is done while the other still runs
        may_end.set()
        assert cleaning.result(PATIENCE) == 1
        assert outcomes(consumer=CLEAN) == ["handled"]
