"""One suite, every broker that may carry wake-ups: none of them may lose a delivery, whatever it loses itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Self, cast
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue

from console.celery import broker_url, transport_options
from messaging import wakeups
from messaging.errors import TransportUnavailable
from tests.factories import elsewhere
from tests.processes import PATIENCE, Deployment

ORDERS = 60


@pytest.fixture(params=["redis", "rabbitmq", "memory"])
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """A deployment whose wake-ups travel by one kind of broker; memory is the embedded process."""
    if request.param == "memory":
        embedded: Deployment = request.getfixturevalue("embedded")
        embedded.start("up").wait_for("Signalbox runs at")
        yield embedded
        return
    production: Deployment = request.getfixturevalue("production")
    url = request.getfixturevalue("redis_url" if request.param == "redis" else "rabbitmq")
    production.env["CELERY_BROKER_URL"] = url
    production.start("relay")
    production.start("worker", "--concurrency", "2").wait_for("ready.")
    yield production


class TestEveryBroker:
    def test_brings_every_order_to_its_end(self, deployment: Deployment) -> None:
        deployment.run("loadgen", "--orders", str(ORDERS), "--rate", "0", "--failures", "0")
        check(deployment.drain())

    def test_loses_nothing_when_it_forgets_everything(self, deployment: Deployment) -> None:
        url = deployment.env.get("CELERY_BROKER_URL", "memory://")
        deployment.run("loadgen", "--orders", str(ORDERS), "--rate", "0", "--failures", "0")
        forget_everything(deployment, url)
        check(deployment.drain())


def check(report: dict[str, Any]) -> None:
    """By the recount every order came to the end of its flow."""
    assert report["is_sound"], report
    [mails] = [each["handled"] for each in report["consumers"] if each["consumer"] == "notification.send_email"]
    assert mails == ORDERS


def forget_everything(deployment: Deployment, url: str) -> None:
    """Empty the broker: flush the queues, or, where they live in the process, end it and start another."""
    if url.startswith("memory"):
        deployment.programs[0].kill()
        deployment.start("up").wait_for("Signalbox runs at")
        return
    broker: Any = Connection
    with broker(broker_url(url), transport_options=transport_options(broker_url(url))) as connection:
        from messaging.wakeups import queue_names

        for queue in queue_names():
            connection.default_channel.queue_purge(queue)


class TestWakeUpOnRabbitMQ:
    def test_that_is_refused_is_no_success_and_ends_nobody(
        self, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app: Any = Celery(set_as_current=False)
        app.conf.update(broker_url=rabbitmq, broker_transport_options=transport_options(rabbitmq))
        monkeypatch.setattr(wakeups, "current_app", app)
        consumer, named = f"conformance.{uuid4()}", cast(Any, Queue)
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = named(wakeups.queue_of(consumer), durable=True, queue_arguments=full)
        with app.connection_for_write() as connection:
            bound = queue.bind(connection.default_channel)
            bound.queue_declare()
            known = {consumer: 0}
            wakeups.wake({consumer: 1}, known)
            assert known == {consumer: 1}
            known = {consumer: 0}
            with pytest.raises(TransportUnavailable):
                wakeups.wake({consumer: 1}, known)
            assert known == {}  # so that the next look asks anew
            bound.delete()

    @pytest.mark.parametrize("is_known", [False, True], ids=["how many wait", "what was sent"])
    def test_does_not_wait_for_ever_for_a_broker_that_froze(
        self, rabbitmq: str, monkeypatch: pytest.MonkeyPatch, is_known: bool
    ) -> None:
        """Its connection stays open, and nothing comes: neither how many wait nor that it has what was sent."""
        consumer, server = f"conformance.{uuid4()}", urlsplit(rabbitmq)
        with Pipe(server.hostname or "127.0.0.1", server.port or 5672) as pipe:
            who = server.netloc.rpartition("@")[0]
            url = server._replace(netloc=f"{who}@127.0.0.1:{pipe.port}").geturl()
            app: Any = Celery(set_as_current=False)
            app.conf.update(broker_url=url, broker_transport_options=transport_options(url))
            monkeypatch.setattr(wakeups, "current_app", app)
            wakeups.wake({consumer: 1})
            known = {consumer: 0} if is_known else {}
            pipe.is_frozen.set()
            with pytest.raises(TransportUnavailable):
                elsewhere(lambda: wakeups.wake({consumer: 1}, known)).result(PATIENCE)
        with app.connection_for_write(rabbitmq) as connection:
            cast(Any, Queue)(wakeups.queue_of(consumer)).bind(connection.default_channel).delete()


class Pipe:
    """Passes on what goes between clients and a server, until it freezes."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        self.is_frozen = Event()

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, come: socket.socket, go: socket.socket) -> None:
        with suppress(OSError):
            while data := come.recv(65_536):
                if not self.is_frozen.is_set():
                    go.sendall(data)


class TestClientOfRedis:
    def test_serves_every_command_until_its_pool_is_another(self, redis_url: str) -> None:
        broker: Any = Connection
        with broker(broker_url(redis_url), transport_options=transport_options(broker_url(redis_url))) as connection:
            channel = connection.default_channel
            first, again = client_of(channel), client_of(channel)
            assert first is again
            channel._disconnect_pools()  # as after a fork
            other = client_of(channel)
            assert (other.connection_pool is first.connection_pool, other.ping()) == (False, True)


def client_of(channel: Any) -> Any:
    with channel.conn_or_acquire() as client:
        return client
