"""Drive the real relay and the real workers by hand, in one thread."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from messaging import relay
from messaging.consumers import Consumer, all_consumers
from messaging.database import store
from messaging.delivery.loop import claim_and_deliver
from messaging.models import ConsumerState, Delivery, Schedule, ScheduledMessage
from messaging.scheduling import firing
from messaging.settings import options

ROUNDS = 10_000
Names = Collection[str] | None
"""Consumers to deliver to; None means all."""
DueTime = Callable[[datetime, Names], datetime | None]
held: dict[str, float] = {}
"""Seconds until a limit lets a consumer have more of what is due, as its last claim was told."""


def run_until_idle(consumers: Names = None) -> int:
    """Relay and deliver all that is due now; return how many deliveries were claimed.

    Raises:
        AssertionError: the bus does not come to rest.
    """
    total = 0
    for _ in range(ROUNDS):
        relayed = relay_once()
        delivered = sum(_with_callbacks(_deliver, each) for each in _with_work(consumers))
        total += delivered
        if not relayed and not delivered:
            return total
    raise AssertionError(f"The bus did not come to rest within {ROUNDS} rounds: a handler keeps publishing.")


def _with_work(consumers: Names) -> list[Consumer]:
    """Return the consumers that have deliveries: to ask each of a service's for none is what takes the time."""
    have = set(Delivery.objects.values_list("consumer", flat=True).distinct())
    for name in held.keys() - have:
        del held[name]
    return [each for each in all_consumers() if each.name in have and (consumers is None or each.name in consumers)]


def relay_once() -> int:
    """Do what a relay does in one turn; return how many rows moved."""
    moved = firing.fire_due() + store().move_due(options().relay_batch)
    return moved + relay.fan_out().taken


def _deliver(consumer: Consumer) -> int:
    claim = claim_and_deliver(consumer)
    held.pop(consumer.name, None)
    if claim.wait:
        held[consumer.name] = claim.wait
    return claim.count


def _with_callbacks(act: Callable[..., int], *arguments: Any) -> int:
    """Run what a handler asked for on commit, also inside a test's transaction, which never commits."""
    if not connection.in_atomic_block:
        return act(*arguments)
    registered = len(connection.run_on_commit)
    result = act(*arguments)
    waiting, connection.run_on_commit = connection.run_on_commit[registered:], connection.run_on_commit[:registered]
    for one in waiting:
        with transaction.atomic():
            one[1]()
    return result


def next_due(now: datetime, consumers: Names = None, *, with_recurring: bool = True) -> datetime | None:
    """Return the earliest moment after ``now`` at which something is due, or None when nothing waits for a time."""
    sources = [*DUE_TIMES, _recurring_due] if with_recurring else DUE_TIMES
    return min((moment for source in sources if (moment := source(now, consumers))), default=None)


def _delivery_due(now: datetime, consumers: Names) -> datetime | None:
    waiting = Delivery.objects.filter(claim_token=None, available_at__gt=now)
    if consumers is not None:
        waiting = waiting.filter(consumer__in=consumers)
    return waiting.order_by("available_at").values_list("available_at", flat=True).first()


def _pause_over(now: datetime, consumers: Names) -> datetime | None:
    paused = ConsumerState.objects.filter(paused_until__gt=now)
    return paused.order_by("paused_until").values_list("paused_until", flat=True).first()


def _message_due(now: datetime, consumers: Names) -> datetime | None:
    waiting = ScheduledMessage.objects.filter(due_at__gt=now)
    return waiting.order_by("due_at").values_list("due_at", flat=True).first()


def _batch_due(now: datetime, consumers: Names) -> datetime | None:
    """A batch that is not full runs when its oldest delivery has waited long enough."""
    moments = []
    for declared in all_consumers():
        if declared.batch and (consumers is None or declared.name in consumers):
            waiting = Delivery.objects.filter(consumer=declared.name, claim_token=None).order_by("available_at")
            oldest = waiting.values_list("available_at", flat=True).first()
            if oldest is not None:
                moments.append(oldest + timedelta(seconds=declared.batch.wait))
    return min((moment for moment in moments if moment > now), default=None)


def _limit_over(now: datetime, consumers: Names) -> datetime | None:
    waits = [wait for name, wait in held.items() if consumers is None or name in consumers]
    return now + timedelta(seconds=min(waits)) if waits else None


def _recurring_due(now: datetime, consumers: Names) -> datetime | None:
    running = Schedule.objects.filter(next_at__gt=now, paused_at=None, retired_at=None)
    return running.order_by("next_at").values_list("next_at", flat=True).first()


DUE_TIMES: list[DueTime] = [_batch_due, _delivery_due, _limit_over, _message_due, _pause_over]
"""What may be waiting for a time. Whatever else waits for one adds its own question here."""
