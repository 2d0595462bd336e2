"""Batch consumers: one call for many messages, with the three guarantees and no neighbour hurt."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import Client

from messaging import Batch, BatchContext, ConfigurationError, PermanentError, Retry, RetryLater, consumer, publish
from messaging.consumers import GUARANTEES, Guarantee
from messaging.delivery.loop import deliver_once
from messaging.models import Attempt, Delivery, Message, Worker
from messaging.operations import replay_dead_letters
from messaging.queries.consumers import get_consumer
from messaging.relay import Relay
from messaging.rescue import rescue
from messaging.testing import Harness
from messaging.verification import verify
from tests.factories import (
    ANA,
    ANNOUNCE,
    DoorsOpened,
    Station,
    TrainArrived,
    arrive,
    claim,
    elsewhere,
    ledger,
    outcomes,
    relay,
    write,
)

TEN = Batch(size=10, seconds="5s")
AT_ONCE = Batch(size=100, seconds=0)
NEVER_AGAIN = Retry(immediate=0, delays=())


class Recorder:
    """A batch handler that notes its calls, writes every train, and fails where it is told to."""

    def __init__(self, *bad: str, error: Exception | None = None) -> None:
        self.bad, self.error = set(bad), error or ValueError("a broken train")
        self.calls: list[list[str]] = []
        self.keys: list[list[str]] = []
        self.__qualname__ = f"Recorder of {id(self)}"

    def __call__(self, events: list[TrainArrived], batch: BatchContext) -> None:
        self.calls.append([event.train for event in events])
        self.keys.append([context.idempotency_key for context in batch.contexts])
        for event in events:
            write(event.train)
        if self.bad & set(self.calls[-1]):
            raise self.error

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]


def trains(count: int, *, first: int = 0) -> list[str]:
    return [f"RE {n:02}" for n in range(first, first + count)]


def publish_all(harness: Harness, names: list[str]) -> None:
    for name in names:
        harness.publish(TrainArrived(train=name))


class TestBatch:
    def test_is_one_call_for_what_has_gathered(self, harness: Harness, station: Station) -> None:
        handler = Recorder()
        station.declare(handler, batch=TEN)
        publish_all(harness, trains(25))
        harness.run()
        assert handler.sizes == [10, 10]
        harness.advance("4s")
        assert handler.sizes == [10, 10]
        harness.advance("1s")
        assert handler.sizes == [10, 10, 5]
        assert ledger() == trains(25)
        assert outcomes() == ["handled"] * 25
        assert verify().is_sound

    def test_waits_for_company_no_longer_than_it_says(self, harness: Harness, station: Station) -> None:
        handler = Recorder()
        station.declare(handler, batch=TEN)
        harness.publish(TrainArrived(train="RE 00"))
        harness.advance("3s")
        harness.publish(TrainArrived(train="RE 01"))
        harness.advance("2s")
        assert handler.calls == [["RE 00", "RE 01"]]

    def test_gives_each_message_its_context_and_its_follow_ups_their_cause(
        self, harness: Harness, station: Station
    ) -> None:
        def handler(events: list[TrainArrived], batch: BatchContext) -> None:
            for event, context in batch.each(events):
                if context.key == "open":
                    publish(DoorsOpened(train=event.train))

        station.declare(handler, batch=AT_ONCE)
        for train, key in (("ICE 1", "open"), ("ICE 2", "shut"), ("ICE 3", "open")):
            harness.publish(TrainArrived(train=train), key=key, correlation_id=f"flow of {train}")
        harness.run()
        causes = {str(seen.id): seen.data.train for seen in harness.messages(TrainArrived)}  # type: ignore[attr-defined]
        found = [(s.data.train, s.correlation_id, causes[s.causation_id or ""]) for s in harness.messages(DoorsOpened)]  # type: ignore[attr-defined]
        assert found == [("ICE 1", "flow of ICE 1", "ICE 1"), ("ICE 3", "flow of ICE 3", "ICE 3")]

    @pytest.mark.parametrize("count", [2, 7, 10])
    @pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
    def test_is_halved_until_the_culprit_is_alone(
        self, harness: Harness, station: Station, count: int, guarantee: Guarantee
    ) -> None:
        def handler(events: list[TrainArrived], batch: BatchContext) -> None:
            with transaction.atomic():
                recorder(events, batch)

        names = trains(count)
        recorder = Recorder(names[-1], names[0])
        station.declare(handler, batch=AT_ONCE, guarantee=guarantee, retry=NEVER_AGAIN)
        publish_all(harness, names)
        harness.run()
        assert ledger() == names[1:-1]
        dead = harness.dead_lettered(TrainArrived, error=ValueError, times=2)
        assert sorted(outcomes()) == ["dead_lettered"] * 2 + ["handled"] * (count - 2)
        assert {letter.attempts for letter in dead} == {1}
        assert max(recorder.sizes) == count
        assert verify().is_sound

    def test_costs_the_neighbours_of_a_culprit_no_failure_and_runs_it_alone_from_then_on(
        self, harness: Harness, station: Station
    ) -> None:
        handler = Recorder("RE 03")
        station.declare(handler, batch=AT_ONCE, retry=Retry(immediate=1, delays=()))
        publish_all(harness, trains(8))
        harness.run()
        assert ledger() == [name for name in trains(8) if name != "RE 03"]
        assert handler.calls[-1] == ["RE 03"]
        assert outcomes().count("handled") == 7
        assert sorted(set(Attempt.objects.exclude(outcome="handled").values_list("number", flat=True))) == [1, 2]

    def test_does_not_halve_for_a_message_that_cannot_be_read(self, harness: Harness, station: Station) -> None:
        handlers = {guarantee: Recorder() for guarantee in GUARANTEES}
        for guarantee, handler in handlers.items():
            station.declare(handler, name=f"station.{guarantee}", batch=AT_ONCE, guarantee=guarantee)
        publish_all(harness, trains(5))
        bad = harness.messages(TrainArrived)[2]
        _damage(bad.id)
        harness.run()
        for guarantee, each in handlers.items():
            assert sorted(chain.from_iterable(each.calls)) == ["RE 00", "RE 01", "RE 03", "RE 04"], guarantee
            assert len(each.calls) == 2
            harness.dead_lettered(TrainArrived, by=f"station.{guarantee}", reason="contract", times=1)

    def test_is_put_off_as_a_whole_when_it_asks_for_later(self, harness: Harness, station: Station) -> None:
        handler = Recorder("RE 00", error=RetryLater(after=30))
        station.declare(handler, batch=AT_ONCE)
        publish_all(harness, trains(3))
        harness.run()
        assert handler.sizes == [3]
        assert set(Delivery.objects.values_list("failures", flat=True)) == {0}
        handler.bad.clear()
        harness.advance("30s")
        assert handler.sizes == [3, 3]
        assert ledger() == trains(3)

    def test_of_the_wrong_size_or_kind_is_refused(self) -> None:
        for given in ({"size": 0}, {"size": 100_000}, {"seconds": "soon"}):
            with pytest.raises(ConfigurationError):
                Batch(**given)


class TestEachGuarantee:
    def test_of_exactly_once_leaves_no_effect_of_a_batch_that_failed(self, harness: Harness, station: Station) -> None:
        handler = Recorder("RE 01", error=PermanentError("no"))
        station.declare(handler, batch=AT_ONCE)
        publish_all(harness, trains(2))
        harness.run()
        assert ledger() == ["RE 00"]  # RE 00 ran in the failed batch, too: that was rolled back

    def test_of_at_least_once_hands_over_keys_that_are_stable_over_retries(
        self, harness: Harness, station: Station
    ) -> None:
        handler = Recorder("RE 01")
        station.declare(handler, batch=AT_ONCE, guarantee="at_least_once", retry=Retry(immediate=1, delays=()))
        publish_all(harness, trains(2))
        harness.run()
        seen: dict[str, set[str]] = {}
        for names, keys in zip(handler.calls, handler.keys, strict=True):
            for name, key in zip(names, keys, strict=True):
                seen.setdefault(name, set()).add(key)
        assert [len(keys) for keys in seen.values()] == [1, 1]
        assert len(handler.calls) >= 4
        [letter] = harness.dead_lettered(TrainArrived)
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="again")
        harness.run()
        assert handler.keys[-1][0] not in seen["RE 01"]

    def test_of_at_most_once_runs_nothing_twice_and_records_the_failed_batch_as_dropped(
        self, harness: Harness, station: Station
    ) -> None:
        handler = Recorder("RE 01")
        station.declare(handler, batch=AT_ONCE, guarantee="at_most_once")
        publish_all(harness, trains(4))
        harness.finish()
        assert handler.sizes == [4]
        assert sorted(outcomes()) == ["dropped"] * 4 + ["handled"] * 4
        assert not Delivery.objects.exists()

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_writes_nothing_under_a_claim_that_was_taken_over(self, station: Station, guarantee: Guarantee) -> None:
        from messaging.delivery.batches import deliver_batch

        handler = Recorder()
        declared = station.declare(handler, batch=AT_ONCE, guarantee=guarantee)
        arrive(*trains(3))
        relay()
        stale = claim()
        Worker.objects.all().delete()
        assert rescue() == 3
        deliver_batch(declared, stale, count=1)
        assert (handler.calls, outcomes()) == ([], [])

    @pytest.mark.django_db(transaction=True)
    def test_of_at_least_once_settles_nothing_when_it_was_taken_over_meanwhile(self, station: Station) -> None:
        def handler(events: list[TrainArrived], batch: BatchContext) -> None:
            Worker.objects.all().delete()
            rescue()

        declared = station.declare(handler, batch=AT_ONCE, guarantee="at_least_once")
        arrive(*trains(3))
        relay()
        deliver_once(declared)
        assert outcomes() == []
        assert Delivery.objects.filter(claim_token=None, is_alone=True).count() == 3


class TestConflict:
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.only_on("postgresql")
    def test_costs_no_failure_and_no_halving(self, station: Station) -> None:
        """Somebody else holds the row that the whole batch wants."""
        import threading

        entered, sizes = threading.Event(), []
        Group.objects.create(name="shared")

        def handler(events: list[TrainArrived], batch: BatchContext) -> None:
            entered.set()
            sizes.append(len(events))
            Group.objects.select_for_update().get(name="shared")
            for event in events:
                write(event.train)

        declared = station.declare(handler, batch=AT_ONCE)
        arrive(*trains(4))
        relay()
        with transaction.atomic():
            Group.objects.select_for_update().get(name="shared")
            future = elsewhere(lambda: deliver_once(declared))
            assert entered.wait(30)
            while len(sizes) < 2:
                threading.Event().wait(0.05)
        future.result(30)
        while deliver_once(declared):
            pass
        assert set(sizes) == {4}
        assert (ledger(), outcomes()) == (trains(4), ["handled"] * 4)


class TestWakeUps:
    @pytest.mark.django_db(transaction=True)
    def test_come_when_a_batch_is_full_or_old_not_before(
        self, station: Station, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A trickle must not make workers look again and again for a batch that is not there."""
        woken: list[str] = []
        monkeypatch.setattr("messaging.relay.wake", lambda work, known: woken.extend(work))
        station.declare(Recorder(), batch=Batch(size=3, seconds="1h"))
        relaying = Relay()
        arrive("RE 00")
        for _ in range(3):
            relaying.step()
        assert woken == []
        arrive("RE 01", "RE 02")
        relaying.step()
        assert woken == [ANNOUNCE]
        Delivery.objects.all().delete()
        arrive("RE 03")
        relaying.step()
        assert woken == [ANNOUNCE]
        Delivery.objects.update(available_at="2020-01-01T00:00:00Z")
        relaying._look_at = 0
        relaying.step()
        assert woken == [ANNOUNCE, ANNOUNCE]

    def test_of_one_batch_consumer_do_not_starve_another(self, harness: Harness, station: Station) -> None:
        eager, lazy = Recorder(), Recorder()
        station.declare(eager, name="station.eager", batch=Batch(size=2, seconds="1s"))
        station.declare(lazy, name="station.lazy", batch=Batch(size=50, seconds="1m"))
        for n in range(60):
            harness.publish(TrainArrived(train=f"RE {n:02}"))
            harness.advance("1s")
        assert sum(eager.sizes) == 60
        assert lazy.sizes == [50]


class TestSizes:
    def test_are_shown_as_declared_and_as_measured(
        self, harness: Harness, station: Station, admin_client: Client
    ) -> None:
        station.declare(Recorder(), batch=TEN)
        publish_all(harness, trains(25))
        harness.advance("10s")
        row = get_consumer(ANNOUNCE)
        assert row is not None
        assert (row.batch_size, row.batch_seconds) == (10, 5.0)
        assert row.batch_mean == pytest.approx(25 / 3)
        page = admin_client.get(f"/consumers/{ANNOUNCE}").content.decode()
        assert "8.3 on average" in page
        metrics = admin_client.get("/metrics").content.decode()
        assert f'signalbox_batches_total{{consumer="{ANNOUNCE}"}} 3.0' in metrics
        assert 'outcome="batches"' not in metrics


def _damage(message_id: Any) -> None:
    body = json.dumps({"train": None}).encode()
    assert Message.objects.filter(id=message_id).update(body=body) == 1
    assert connection.vendor in {"sqlite", "postgresql"}


def test_declared_with_a_name_that_is_taken_is_refused(station: Station, db: None) -> None:
    station.declare(Recorder(), batch=TEN)
    with pytest.raises(ConfigurationError):
        consumer(TrainArrived, name=ANNOUNCE)(lambda event, context: None)
    assert timedelta(seconds=TEN.wait) == timedelta(seconds=5)
