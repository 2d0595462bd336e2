"""Wake-ups: hints on a consumer's queue that there is work. Losing or repeating one is harmless."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import current_app
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import KombuError

from messaging import chaos, failpoints
from messaging.consumers import all_consumers
from messaging.errors import TransportUnavailable
from messaging.settings import options

log = logging.getLogger("messaging.wakeups")
TASK = "messaging.deliver"
MAINTENANCE_QUEUE = "signalbox"


def queue_names() -> list[str]:
    """Return every queue a worker listens on: one for each consumer, and one for scheduled tasks."""
    return [MAINTENANCE_QUEUE, *(declared.queue for declared in all_consumers())]


def queue_of(consumer: str) -> str:
    return f"signalbox.{consumer}"


def wake(work: dict[str, int]) -> None:
    """Send wake-ups to consumers; ``work`` says how many deliveries each has. Keeps a bounded number outstanding.

    Raises:
        TransportUnavailable: the broker did not answer. Nothing is lost: the rows are still claimable.
    """
    if not work:
        return
    try:
        with current_app.pool.acquire() as connection, _fresh_after_failure(connection):
            for consumer, deliveries in work.items():
                _wake_one(connection, consumer, deliveries)
    except _broker_errors() as error:
        raise TransportUnavailable(f"The broker did not take a wake-up: {error}") from error


@contextmanager
def _fresh_after_failure(connection: Connection) -> Iterator[None]:
    """Take a connection that failed apart: the pool would hand it out again, broken as it is."""
    try:
        yield
    except _broker_errors():
        untyped: Any = connection
        untyped.collect()
        raise


def _broker_errors() -> tuple[type[Exception], ...]:
    """Return what the broker's own client raises: asking for a queue's size lets redis-py's errors through."""
    connection = current_app.connection_for_write()
    return (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)


def _wake_one(connection: Connection, consumer: str, deliveries: int) -> None:
    queue = queue_of(consumer)
    wanted = min(options().wakeups_per_consumer, -(-deliveries // options().chunk_limit))
    for _ in range(chaos.wakeups(consumer, wanted - waiting(connection, queue))):
        failpoints.reach("wake.before")
        current_app.send_task(TASK, (consumer,), queue=queue, connection=connection, retry=False, ignore_result=True)
        failpoints.reach("wake.after")


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
