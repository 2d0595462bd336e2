"""Claims of dead workers come back, and a delivery that kills its process is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, transaction

from messaging import Context
from messaging import rescue as rescuing
from messaging.database import store
from messaging.delivery.presence import Presence, presence, stand_in
from messaging.ids import new_id
from messaging.models import Attempt, DeadLetter, Delivery, Worker
from messaging.operations import replay_dead_letters
from messaging.rescue import adopt_orphans, rescue
from messaging.settings import Options
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANA,
    ANNOUNCE,
    TrainArrived,
    arrive,
    claim,
    dead,
    elsewhere,
    ledger,
    outcomes,
    pending,
    relay,
)
from tests.processes import PATIENCE, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def another_worker(*, silent_for: float = 0) -> UUID:
    """Add the row of another worker process."""
    other = Presence("worker")
    other.register()
    if silent_for:
        Worker.objects.filter(id=other.id).update(heartbeat_at=store().now() - timedelta(seconds=silent_for))
    return other.id


def die_with(claimed: int, *, alone: bool = False) -> UUID:
    """Claim as a worker that dies at once; return the token."""
    worker = another_worker()
    token = claim(limit=claimed, alone=alone, worker=worker)
    Worker.objects.filter(id=worker).delete()
    return token


class TestBeginningOfPresence:
    def test_that_could_not_begin_begins_at_the_next_chance(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child that starts while the database is away must not work without a heartbeat later on."""
        register, is_away = Presence.register, True

        def try_to_register(self: Presence) -> None:
            if is_away:
                raise OperationalError("the database system is starting up")
            register(self)

        monkeypatch.setattr(Presence, "register", try_to_register)
        with stand_in():
            with pytest.raises(OperationalError):
                presence()
            is_away = False
            assert Worker.objects.filter(id=presence().id).exists()


class TestHeartbeat:
    def test_goes_on_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("messaging.delivery.presence.heartbeat_is_on", True)
        monkeypatch.setattr("messaging.delivery.presence.options", lambda: Options(heartbeat_seconds=0.01))
        worker = Presence("worker")
        row = Worker.objects.filter(id=worker.id)
        worker.start()
        try:
            for _ in range(2):
                long_ago = store().now() - timedelta(hours=1)
                row.update(heartbeat_at=long_ago)
                eventually(row.filter(heartbeat_at__gt=long_ago).exists, what="a heartbeat")
        finally:
            worker.stop()
        assert not row.exists()


class TestRescue:
    def test_gives_back_what_a_dead_worker_held(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        die_with(2)
        assert rescue() == 2
        assert Delivery.objects.filter(claim_token=None, worker=None, claimed_at=None).count() == 3
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2", "ICE 3"]

    def test_takes_a_worker_that_is_silent_too_long_for_dead(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2")
        relay()
        claim(limit=1, worker=another_worker(silent_for=3600))
        claim(limit=1, worker=another_worker(silent_for=1))
        assert rescue() == 1
        assert Delivery.objects.filter(claim_token=None).count() == 1

    def test_leaves_a_living_worker_alone(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        relay()
        claim(worker=another_worker())
        assert rescue() == 0

    def test_leaves_a_worker_alone_that_was_heard_again_after_the_rescuer_looked(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        station.declare()
        arrive("ICE 1")
        relay()
        frozen = another_worker(silent_for=3600)
        claim(worker=frozen)

        def wake_up(workers: Sequence[UUID]) -> int:
            Worker.objects.filter(id__in=workers).update(heartbeat_at=store().now())
            return 0

        # The rescuer stops right after it looked; when it goes on, the worker it took for dead is alive and at work.
        monkeypatch.setattr(store(), "end_sessions", wake_up)
        assert rescue() == 0
        assert Delivery.objects.get().worker == frozen

    def test_does_it_once_when_called_twice_at_once(self, station: Any) -> None:
        station.declare()
        arrive(*(f"RE {n}" for n in range(40)))
        relay()
        die_with(40)
        both = [elsewhere(rescue) for _ in range(2)]
        assert sum(future.result(30) for future in both) == 40

    @pytest.mark.only_on("postgresql")  # an open write transaction stops every other writer on SQLite
    def test_skips_rows_that_an_open_transaction_holds(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2")
        relay()
        held, free = die_with(1), die_with(1)
        with transaction.atomic():
            assert len(store().lock(token=held)) == 1
            assert elsewhere(rescue).result(PATIENCE) == 1
        assert Delivery.objects.get(claim_token=held).crashes == 0
        assert not Delivery.objects.filter(claim_token=free).exists()
        assert rescue() == 1

    def test_forgets_workers_that_are_long_gone(self) -> None:
        gone, alive = another_worker(silent_for=3600), another_worker()
        rescue()
        assert set(Worker.objects.values_list("id", flat=True)) == {alive}
        assert gone != alive


class TestCrashes:
    def test_count_for_the_one_that_ran_alone(self, station: Any) -> None:
        station.declare()
        [message_id] = arrive("ICE 1")
        relay()
        die_with(1)
        rescue()
        row = pending(message_id)
        assert (row.crashes, row.failures, row.is_alone) == (1, 0, True)
        assert outcomes(message_id) == ["crashed"]

    def test_cost_nothing_in_company_but_all_run_alone_next(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        die_with(3)
        rescue()
        assert set(Delivery.objects.values_list("crashes", "failures", "is_alone")) == {(0, 0, True)}
        assert outcomes() == []
        assert Delivery.objects.filter(claim_token=claim(alone=True, limit=1)).count() == 1

    @pytest.mark.only_on("postgresql")  # an open write transaction stops every other writer on SQLite
    def test_cost_a_waiting_neighbour_nothing_while_another_row_is_held(self, station: Any) -> None:
        """The chunk is running message by message: one row is locked, the other one only waits its turn."""
        station.declare()
        running, waiting = arrive("ICE 1", "ICE 2")
        relay()
        token = die_with(2)
        with transaction.atomic():
            store().lock(token=token, only=running)
            elsewhere(rescue).result(PATIENCE)
        assert (pending(waiting).crashes, pending(waiting).is_alone) == (0, True)

    def test_cost_nothing_where_a_batch_of_the_rescue_ends(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rescuing, "BATCH", 5)
        station.declare()
        arrive(*(f"RE {n}" for n in range(8)))
        relay()
        die_with(4)
        die_with(4)
        assert rescue() == 8
        assert set(Delivery.objects.values_list("crashes", "is_alone")) == {(0, True)}

    def test_end_as_a_dead_letter_after_three(self, station: Any) -> None:
        station.declare()
        bad, good = arrive("ICE 13", "ICE 14")
        relay()
        die_with(2)
        rescue()
        Delivery.objects.filter(message_id=good).update(is_alone=False)  # it ran meanwhile
        for _ in range(3):
            die_with(1, alone=True)
            rescue()
        letter = dead(bad)
        assert (letter.reason, letter.error_type, letter.attempts) == ("crash_loop", "CrashLoop", 3)
        assert outcomes(bad) == ["crashed", "crashed", "dead_lettered"]
        assert list(Attempt.objects.filter(message_id=bad).order_by("id").values_list("number", flat=True)) == [1, 2, 3]
        run_until_idle()
        assert ledger() == ["ICE 14"]
        assert verify().is_sound

    def test_can_be_replayed_after_the_repair(self, station: Any) -> None:
        station.declare()
        [message_id] = arrive("ICE 1")
        relay()
        for n in range(3):
            die_with(1, alone=n > 0)
            rescue()
        replay_dead_letters(ids=[dead(message_id).id], actor=ANA, reason="more memory")
        run_until_idle()
        assert (ledger(), DeadLetter.objects.get().state) == (["ICE 1"], "resolved")

    def test_that_failed_before_keep_both_counters(self, station: Any) -> None:
        tries: list[int] = []

        def handler(event: TrainArrived, context: Context) -> None:
            tries.append(context.attempt)
            raise ValueError

        station.declare(handler)
        [message_id] = arrive("ICE 1")
        relay()
        die_with(1)
        rescue()
        run_until_idle()
        row = pending(message_id)
        assert (row.crashes, row.failures, tries[0]) == (1, 4, 2)


class TestAdoptOrphans:
    def test_gives_back_every_claim_at_the_start_of_the_only_process(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2")
        relay()
        claim(worker=another_worker())  # its heartbeat is fresh, but its process is the one that was killed
        assert adopt_orphans() == 2
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2"]


class TestPresence:
    def test_registers_anew_when_it_was_taken_for_dead(self) -> None:
        mine = presence()
        Worker.objects.all().delete()
        mine.beat()
        assert Worker.objects.get().id == mine.id

    def test_starts_one_heartbeat_however_often_it_is_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import threading

        from messaging.delivery import presence as module

        monkeypatch.setattr(module, "heartbeat_is_on", True)
        before = threading.active_count()
        mine = Presence("relay")
        try:
            mine.start()
            mine.start()  # the relay does, each time it comes back to a lost database
            assert threading.active_count() == before + 1
        finally:
            mine.stop()
        assert not Worker.objects.exists()

    def test_of_a_worker_takes_its_row_away_at_the_end(self) -> None:
        mine = presence()
        mine.stop()
        assert not Worker.objects.filter(id=mine.id).exists()


def test_claims_name_the_worker(station: Any) -> None:
    station.declare()
    [message_id] = arrive("ICE 1")
    relay()
    worker = new_id()
    claim(ANNOUNCE, worker=worker)
    assert pending(message_id).worker == worker
