"""The harness: publish, let time pass, say what must have happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from messaging import clock, publishing, subscriptions
from messaging.consumers import all_consumers
from messaging.contracts.model import MessageModel
from messaging.delivery import loop, presence
from messaging.models import Subscription
from messaging.policy import seconds
from messaging.sagas import Saga
from messaging.testing import driving
from messaging.testing.doubles import Double, Doubles
from messaging.testing.naming import ConsumerName, consumer_of
from messaging.testing.sagas import SagaSeen, look_up
from messaging.testing.sightings import Sightings


class Harness(Sightings):
    """One bus in one test. Its clock stands still until it is advanced."""

    def __init__(self, *, consumers: frozenset[str] | None, at: datetime, doubles: Doubles) -> None:
        self._now = at
        self._consumers = consumers
        self._doubles = doubles

    @property
    def now(self) -> datetime:
        """The virtual time; ``django.utils.timezone.now`` returns it too."""
        return self._now

    def publish(self, message: MessageModel, **options: Any) -> UUID:
        """Publish in a transaction of its own and return the id; ``options`` are those of ``messaging.publish``."""
        with transaction.atomic():
            return publishing.publish(message, **options)

    def run(self) -> int:
        """Relay and deliver until nothing is due now; return how many deliveries were tried."""
        subscribe_news()
        return driving.run_until_idle(self._consumers)

    def advance(self, duration: str | float | timedelta) -> int:
        """Let time pass ("10m"); what comes due meanwhile runs at its moment, in order. Returns deliveries tried."""
        target = self._now + timedelta(seconds=seconds(duration))
        tried = self.run()
        while (due := driving.next_due(self._now, self._consumers)) and due <= target:
            tried += self._run_at(due)
        return tried + self._run_at(target)

    def finish(self) -> int:
        """Advance from one due time to the next until nothing waits for its time; return deliveries tried.

        What recurs would never end: ``advance`` over its times instead.

        Raises:
            AssertionError: the bus does not come to rest.
        """
        tried = self.run()
        for _ in range(driving.ROUNDS):
            due = driving.next_due(self._now, self._consumers, with_recurring=False)
            if due is None:
                return tried
            tried += self._run_at(due)
        raise AssertionError("Something waits for its time again and again: use advance() to say how long to look.")

    def replace(self, consumer: ConsumerName, handler: Callable[..., Any] | None = None) -> Double:
        """Put ``handler`` (or nothing at all) in a consumer's place; the double returned notes what it was given."""
        return self._doubles.replace(consumer, handler)

    def fail(
        self, consumer: ConsumerName, *, times: int = 1, error: Exception | type[Exception] | None = None,
        after: bool = False,
    ) -> None:  # fmt: skip
        """Let the next ``times`` runs of a consumer fail with ``error``: before its handler, or just ``after`` it."""
        self._doubles.fail(consumer, times=times, error=error, after=after)

    def saga(
        self, saga: type[Saga[Any]], correlation: object, *, state: str | None = None, **fields: Any
    ) -> SagaSeen:  # fmt: skip
        """Assert that a saga exists, is at ``state`` and has data with these ``fields``; return it."""
        return look_up(saga, correlation, state=state, fields=fields)

    def _run_at(self, moment: datetime) -> int:
        self._now = moment
        presence.presence().beat()  # else rescue, which goes by the same clock, takes this process for dead
        return self.run()


@contextmanager
def opened(*, consumers: Iterable[ConsumerName] | None, at: datetime | None) -> Iterator[Harness]:
    """Open a harness; see ``messaging.testing.harness``."""
    if at is not None and at.tzinfo is None:
        raise ValueError(f"harness(at={at!r}) has no time zone; write datetime(..., tzinfo=UTC).")
    doubles = Doubles()
    chosen = None if consumers is None else frozenset(consumer_of(each).name for each in consumers)
    running = Harness(consumers=chosen, at=at or clock.now(), doubles=doubles)
    driving.held.clear()
    clock.install(lambda: running.now)
    try:
        with presence.stand_in(), loop.fresh_sizes(), mock.patch.object(timezone, "now", clock.now):
            subscribe_news()
            Subscription.objects.filter(starts_at__gt=running.now).update(starts_at=running.now)
            yield running
    finally:
        doubles.close()
        clock.install(None)


def subscribe_news() -> None:
    """Write the subscriptions of consumers declared since; the migrations of the test run wrote all others."""
    if subscriptions.has_news(all_consumers()):
        subscriptions.synchronise()
