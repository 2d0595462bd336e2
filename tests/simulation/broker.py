"""The broker: wake-ups wait here by consumer. It may lose one, double one, or refuse to take one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from messaging.wakeups import MAINTENANCE_QUEUE
from tests.simulation.stage import world

PREFIX = f"{MAINTENANCE_QUEUE}."


class Broker:
    """Stands where messaging.wakeups looks for Celery's application, and for its connection."""

    connection_errors = channel_errors = recoverable_connection_errors = ()

    def __init__(self) -> None:
        self.queues: Counter[str] = Counter()
        self.waits = 0

    @property
    def pool(self) -> Broker:
        return self

    @contextmanager
    def acquire(self) -> Iterator[Broker]:
        yield self

    def connection_for_write(self) -> Broker:
        return self

    def collect(self) -> None:
        """Give up the connection: the next one is as good."""

    def waiting(self, queue: str) -> int:
        return self.queues[queue]

    def send(self, queue: str) -> None:
        if world().is_struck("refused"):
            raise OSError("the simulated broker refused")
        if world().is_struck("lost"):
            return
        sent = 2 if world().is_struck("doubled") else 1
        self.queues[queue] += sent
        self.waits += sent

    def take(self) -> str | None:
        """Take a wake-up from any queue and return its consumer."""
        filled = sorted(queue for queue, count in self.queues.items() if count)
        if not filled:
            return None
        queue = world().rng.choice(filled)
        self.queues[queue] -= 1
        self.waits -= 1
        return queue.removeprefix(PREFIX)

    def has_any(self) -> bool:
        return self.waits > 0
