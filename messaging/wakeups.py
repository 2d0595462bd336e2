"""Wake-ups: hints on a consumer's queue that there is work. Losing or repeating one is harmless."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from celery import current_app
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from messaging import chaos, failpoints
from messaging.consumers import all_consumers
from messaging.errors import TransportUnavailable
from messaging.ids import new_id
from messaging.settings import options

log = logging.getLogger("messaging.wakeups")
TASK = "messaging.deliver"
MAINTENANCE_QUEUE = "signalbox"
CONFIRM_SECONDS = 5.0
"""The client's own limit ends no read that has begun: a confirm is waited for by the clock."""


def queue_names() -> list[str]:
    """Return every queue a worker listens on: one for each consumer, and one for scheduled tasks."""
    return [MAINTENANCE_QUEUE, *(declared.queue for declared in all_consumers())]


def queue_of(consumer: str) -> str:
    return f"signalbox.{consumer}"


Outstanding = dict[str, int]
"""By consumer: how many wake-ups waited in its queue when the broker last said so, and those sent since."""


def wake(work: dict[str, int], known: Outstanding | None = None) -> None:
    """Send wake-ups to consumers; ``work`` says how many deliveries each has. Keeps a bounded number outstanding.

    ``known`` is brought up to date. The broker is asked only where it leaves no room, or says nothing.

    Raises:
        TransportUnavailable: the broker did not answer. Nothing is lost: the rows are still claimable.
    """
    if not work:
        return
    known = {} if known is None else known
    with _broker(known) as connection:
        for consumer, deliveries in work.items():
            _wake_one(connection, consumer, deliveries, known)


def look(known: Outstanding) -> None:
    """Ask the broker again where wake-ups were waiting: done at leisure, so that the next message need not.

    Raises:
        TransportUnavailable: the broker did not answer.
    """
    if any(known.values()):
        with _broker(known) as connection:
            known.update({name: waiting(connection, queue_of(name)) for name, count in known.items() if count})


@contextmanager
def _broker(known: Outstanding) -> Iterator[Connection]:
    """Take a connection, and take it apart if it fails: the pool would hand it out again, broken as it is."""
    try:
        with current_app.pool.acquire() as connection:
            try:
                yield connection
            except _broker_errors():
                untyped: Any = connection
                untyped.collect()
                raise
    except _broker_errors() as error:
        known.clear()  # a broker that comes back may have forgotten
        raise TransportUnavailable(f"The broker did not take a wake-up: {error}") from error


def _broker_errors() -> tuple[type[Exception], ...]:
    """Return what the broker's own client raises: asking for a queue's size lets redis-py's errors through.

    That a broker did not confirm is among what a client may try again, and among no other errors.
    """
    connection: Any = current_app.connection_for_write()
    return (
        KombuError, OSError, *connection.connection_errors, *connection.channel_errors,
        *connection.recoverable_connection_errors,
    )  # fmt: skip


def _wake_one(connection: Connection, consumer: str, deliveries: int, known: Outstanding) -> None:
    queue = queue_of(consumer)
    wanted = min(options().wakeups_per_consumer, -(-deliveries // options().chunk_limit))
    if known.get(consumer, wanted) >= wanted:
        known[consumer] = waiting(connection, queue)
    missing = max(wanted - known[consumer], 0)
    known[consumer] += missing
    for _ in range(chaos.wakeups(consumer, missing)):
        failpoints.reach("wake.before")
        send(connection, queue, consumer)
        failpoints.reach("wake.after")


def send(connection: Connection, queue: str, consumer: str) -> None:
    """Send one wake-up to a queue that exists.

    It is the message that ``send_task`` makes, without its routing, signals and spans of its own: these cost more than
    half of it, while a new message waits.
    """
    app: Any = current_app
    message, id = _task(app, consumer), str(new_id())
    untyped: Any = Producer
    untyped(connection.default_channel, auto_declare=False).publish(
        message.body, routing_key=queue, headers={**message.headers, "id": id, "root_id": id},
        serializer=app.conf.task_serializer, confirm_timeout=CONFIRM_SECONDS,
        **{**message.properties, "correlation_id": id},
    )  # fmt: skip


@cache
def _task(app: Any, consumer: str) -> Any:
    """Return what Celery sends for the task, but for its id."""
    return app.amqp.as_task_v2("", TASK, (consumer,), ignore_result=True)


def waiting(connection: Connection, queue: str) -> int:
    """Return how many wake-ups wait in a queue, as far as the broker says."""
    named: Any = Queue
    declared = named(queue, durable=True).bind(connection.default_channel).queue_declare(passive=False)
    return int(declared.message_count)


def wake_quietly(consumers: Iterable[str]) -> None:
    """Wake consumers where possible; the relay's next look finds what this misses."""
    try:
        wake(dict.fromkeys(consumers, 1))
    except TransportUnavailable as error:
        log.warning("%s", error)
