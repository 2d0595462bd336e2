"""Outbox rows become exactly one delivery per subscription, whoever relays and however often."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from queue import Empty
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery, current_app
from django.db import transaction
from django.db.utils import OperationalError

from console.celery import transport_options
from messaging import publish
from messaging.database import store
from messaging.envelope import Envelope
from messaging.errors import TransportUnavailable
from messaging.models import Delivery, Message, OutboxEntry
from messaging.relay import Relay
from messaging.settings import options
from messaging.testing import run_until_idle
from messaging.wakeups import look, queue_of, wake
from tests import servers
from tests.factories import (
    ANNOUNCE,
    CLEAN,
    TrainArrived,
    arrive,
    elsewhere,
    ledger,
    relay,
)
from tests.processes import PATIENCE, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def duplicate_outbox_row() -> None:
    row = OutboxEntry.objects.get()
    row.pk = None
    row.save(force_insert=True)


class TestRelay:
    def test_makes_one_delivery_for_each_subscription(self, station: Any) -> None:
        station.declare(name=ANNOUNCE)
        station.declare(name=CLEAN)
        [message_id] = arrive("ICE 1")
        assert relay() == 1
        assert not OutboxEntry.objects.exists()
        made = Delivery.objects.filter(message_id=message_id).order_by("consumer")
        assert [(each.consumer, each.run, each.failures) for each in made] == [(ANNOUNCE, 1, 0), (CLEAN, 1, 0)]

    def test_takes_an_outbox_row_that_nobody_wants(self) -> None:
        arrive("ICE 1")
        assert relay() == 1
        assert (OutboxEntry.objects.count(), Delivery.objects.count(), Message.objects.count()) == (0, 0, 1)

    def test_makes_one_delivery_of_a_repeated_outbox_row(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        duplicate_outbox_row()
        assert relay() == 2
        assert Delivery.objects.count() == 1

    def test_makes_one_delivery_of_a_row_that_is_repeated_later(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        row = OutboxEntry.objects.get()
        relay()
        row.pk = None
        row.save(force_insert=True)
        relay()
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_makes_one_delivery_of_a_repeated_directed_row(self, station: Any) -> None:
        station.declare(name=ANNOUNCE)
        station.declare(name=CLEAN)
        [message_id] = arrive("ICE 1")
        OutboxEntry.objects.all().delete()
        message = Message.objects.get(id=message_id)
        with transaction.atomic():
            for _ in range(2):
                store().direct(directed(message, consumer=CLEAN, run=2))
        relay()
        assert [(each.consumer, each.run) for each in Delivery.objects.all()] == [(CLEAN, 2)]

    def test_takes_no_more_than_its_batch(self, station: Any) -> None:
        station.declare()
        arrive(*(f"RE {n}" for n in range(7)))
        assert [store().relay(3).taken for _ in range(4)] == [3, 3, 1, 0]
        assert Delivery.objects.count() == 7

    @pytest.mark.only_on("postgresql")  # SQLite has one writer at a time: no later id can commit first
    def test_sees_a_row_whose_transaction_committed_after_a_later_one(self, station: Any) -> None:
        station.declare()
        is_published, may_commit = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                publish(TrainArrived(train="slow"))
                is_published.set()
                assert may_commit.wait(PATIENCE)

        publishing = elsewhere(slow)
        assert is_published.wait(PATIENCE)
        arrive("quick")
        assert relay() == 1
        may_commit.set()
        publishing.result(PATIENCE)
        assert relay() == 1
        run_until_idle()
        assert ledger() == ["quick", "slow"]

    def test_shares_the_rows_out_between_two_relays(self, station: Any) -> None:
        station.declare()
        arrive(*(f"RE {n}" for n in range(120)))
        both = [elsewhere(lambda: sum(iter(lambda: store().relay(7).taken, 0))) for _ in range(2)]
        assert sum(future.result(PATIENCE) for future in both) == 120
        assert Delivery.objects.count() == 120


class TestRelayProcess:
    """The loop itself, in this thread, against the real broker of the test run."""

    def test_relays_and_stops_when_told(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        stop = threading.Event()
        running = elsewhere(lambda: Relay().run(stop))
        eventually(lambda: not OutboxEntry.objects.exists(), what="an empty outbox")
        stop.set()
        running.result(PATIENCE)
        assert Delivery.objects.filter(consumer=ANNOUNCE).count() == 1

    def test_comes_back_sooner_the_longer_it_worked_between(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A database that fails at each step is asked ever less often; after a step that did its work, at once."""
        station.declare()
        stop, waits = threading.Event(), list[float]()
        fails = iter([True, True, True, False, True])

        def step(self: Relay) -> int:
            if next(fails):
                raise OperationalError("It went away.")
            return 0

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == 4:
                stop.set()
            return stop.is_set()

        monkeypatch.setattr(Relay, "step", step)
        monkeypatch.setattr(stop, "wait", wait)
        Relay().run(stop)
        assert waits == [0.01, 0.02, 0.04, 0.01]

    def test_finds_a_retry_that_came_due_without_any_new_message(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        relay()
        Delivery.objects.update(available_at=store().now() + timedelta(hours=1))
        assert ANNOUNCE not in store().claimable()
        Delivery.objects.update(available_at=store().now() - timedelta(seconds=1))
        assert ANNOUNCE in store().claimable()


class TestStep:
    def test_lets_no_message_wait_for_two_chores(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each chore takes statements of its own; what comes meanwhile goes out before the next begins."""
        station.declare()
        found: list[int] = []

        def act() -> None:
            found.append(OutboxEntry.objects.count())
            arrive("ICE 2")

        for each in ("firing.fire_due", "rescue.rescue", "pressure.note"):
            monkeypatch.setattr(f"messaging.relay.{each}", act)
        monkeypatch.setattr("messaging.relay.wake", lambda work, known: None)
        arrive("ICE 1")
        assert Relay().step() == 4
        assert found == [0, 0, 0]
        assert Delivery.objects.filter(consumer=ANNOUNCE).count() == 4


def directed(message: Message, *, consumer: str, run: int) -> Envelope:
    return Envelope(
        id=message.id, type=message.type, version=message.version, kind=message.kind, source=message.source,
        tenant="", body=b"", correlation_id=message.correlation_id, causation_id=None, traceparent=message.traceparent,
        occurred_at=message.occurred_at, consumer=consumer, run=run,
    )  # fmt: skip


@pytest.fixture
def broker() -> Iterator[tuple[servers.Process, redis.Redis]]:
    """A broker of the test's own, in use while it runs."""
    directory = servers.private_directory(f"leaving-redis-{uuid4().hex[:6]}")
    socket = directory / "redis.sock"
    server = servers.Process(
        [servers.redis_binary(), "--port", "0", "--unixsocket", str(socket), "--save", ""], directory=directory
    )
    server.wait_until(lambda: servers.redis_process(f"unix://{socket}") == server.pid)
    before = current_app._get_current_object()
    Celery("leaving", broker=f"redis+socket://{socket}", set_as_current=False).set_current()
    with redis.Redis.from_url(f"unix://{socket}") as client:
        yield server, client
    before.set_current()
    server.stop()


class TestChores:
    def test_of_which_one_fails_each_time_do_not_stop_the_others(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        station.declare()
        done: list[str] = []

        def fail() -> None:
            raise OperationalError("The table is locked.")

        monkeypatch.setattr("messaging.relay.firing.fire_due", fail)
        monkeypatch.setattr("messaging.relay.rescue.rescue", lambda: done.append("rescue"))
        monkeypatch.setattr("messaging.relay.pressure.note", lambda: done.append("look"))
        relaying = Relay()
        with pytest.raises(OperationalError):
            relaying.step()
        relaying.step()
        assert done == ["rescue", "look"]

    def test_ask_a_broker_that_is_away_once(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each time may take as long as an answer may."""
        station.declare()
        asked: list[object] = []

        def wake(work: object, known: object) -> None:
            asked.append(work)
            raise TransportUnavailable("It is away.")

        monkeypatch.setattr("messaging.relay.wake", wake)
        monkeypatch.setattr("messaging.relay.pressure.note", lambda: arrive("ICE 2"))
        arrive("ICE 1")
        assert Relay().step() == 2
        assert len(asked) == 1


class TestWakeUp:
    """The broker may go away at any time: that is told in the bus's own words, which the relay survives."""

    def test_says_that_the_broker_went_away(self, broker: tuple[servers.Process, redis.Redis]) -> None:
        wake({ANNOUNCE: 1})
        broker[0].stop()
        with pytest.raises(TransportUnavailable):
            wake({ANNOUNCE: 1})

    def test_does_not_wait_for_ever_for_a_broker_that_does_not_answer(
        self, broker: tuple[servers.Process, redis.Redis]
    ) -> None:
        server, _ = broker
        app = current_app._get_current_object()
        app.conf.broker_transport_options = transport_options("redis://")
        wake({ANNOUNCE: 1})

        def act() -> None:
            app.set_current()  # of this thread
            wake({ANNOUNCE: 100_000})

        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TransportUnavailable, match="did not take a wake-up"):
                elsewhere(act).result(PATIENCE)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        wake({ANNOUNCE: 1})

    def test_is_waited_for_only_where_it_was_asked_for_one(self, broker: tuple[servers.Process, redis.Redis]) -> None:
        """The loop of a worker may find a connection readable that it has asked nothing."""
        app = current_app._get_current_object()
        heard: list[Any] = []

        def act() -> None:
            app.set_current()  # of this thread
            channel = app.connection_for_read().default_channel
            channel.client.connection = channel.client.connection_pool.get_connection()
            with pytest.raises(Empty):
                channel._brpop_read()
            channel.basic_consume(queue_of(ANNOUNCE), no_ack=True, callback=heard.append, consumer_tag="1")
            channel.connection.cycle._register_BRPOP(channel)
            wake({ANNOUNCE: 1})
            channel._brpop_read()

        elsewhere(act).result(PATIENCE)
        assert len(heard) == 1

    def test_leaves_few_waiting_whatever_the_broker_forgot(self, broker: tuple[servers.Process, redis.Redis]) -> None:
        known: dict[str, int] = {}
        for _ in range(5):
            wake({ANNOUNCE: 1000}, known)
            assert broker[1].llen(queue_of(ANNOUNCE)) == options().wakeups_per_consumer
        broker[1].flushall()
        wake({ANNOUNCE: 1000}, known)
        assert broker[1].llen(queue_of(ANNOUNCE)) == options().wakeups_per_consumer
        broker[1].flushall()
        look(known)
        assert known == {ANNOUNCE: 0}
        wake({ANNOUNCE: 1}, known)
        assert broker[1].llen(queue_of(ANNOUNCE)) == 1
