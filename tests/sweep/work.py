"""What the victims do: publish, relay, deliver, repair. Each act goes on where a killed one stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

from celery import current_app
from django.db import connection, transaction
from kombu.entity import Queue

from examples.ecommerce.orders.placing import NewOrder, place_order
from examples.ecommerce.traffic import OrderMaker
from messaging import failpoints, publish, rescue, rollups
from messaging.consumers import all_consumers
from messaging.database import store
from messaging.delivery import loop, presence
from messaging.ids import new_id
from messaging.models import Attempt, DeadLetter, Delivery, OutboxEntry, Worker
from messaging.operations import (
    Actor,
    command_line,
    discard_dead_letters,
    replay_dead_letters,
    resubmit_dead_letter,
)
from messaging.relay import Relay
from messaging.settings import options
from messaging.tasks import deliver
from messaging.wakeups import queue_names
from tests.sweep import mutants
from tests.sweep.journey.consumers import HOLD_SEAT
from tests.sweep.journey.events import KINDS, TripBooked
from tests.sweep.journey.models import Trip

ORDERS = ("", "declined", "unknown_currency")
LEFT_BEHIND, LAST_CHANCE = len(KINDS), len(KINDS) + 1
"""Numbers of two trips that a dead worker held when the sweep began; the second had killed its worker before."""
PATIENCE = float(os.environ.get("SWEEP_PATIENCE", "20"))
"""Seconds without progress after which work that is left counts as stuck; a loaded machine is slow, not stuck."""
ENDLESS = 4 * PATIENCE
"""Seconds after which work that goes on and on will never end."""
_is_retired = threading.Event()


class NotDrained(Exception):
    """Faults had stopped, and still work was left."""


class _RolledBack(Exception):
    pass


def everything() -> None:
    """Publish, drain, repair as an operator would, drain again: alone in one process."""
    station = settle_in()
    for act in (publish_all, station.drain, operate, station.drain):
        if not is_retired():
            act()


def settle_in() -> Station:
    """Be the one process there is."""
    presence.heartbeat_is_on = False
    if connection.vendor == "sqlite":
        rescue.adopt_orphans()  # as the embedded process does when it starts
    signal.signal(signal.SIGCONT, _retire)
    return Station()


def begin() -> None:
    """Do everything, with none of the wake-ups of the run before."""
    forget_wakeups()
    everything()


def forget_wakeups() -> None:
    for name in queue_names():
        while _take(name):
            pass


def take_over() -> None:
    """Do everything after the death of whoever did it before, as if its lease had run out."""
    bury()
    everything()


def bury() -> None:
    """Make every heartbeat there is an old one."""
    Worker.objects.update(heartbeat_at=store().now() - timedelta(minutes=1))


def is_retired() -> bool:
    return _is_retired.is_set()


def _retire(*_: object) -> None:
    """A process that was frozen finishes what it has in hand and starts nothing new."""
    _is_retired.set()
    loop.stopping.set()


def usurp() -> dict[str, int]:
    """Take the claims of a frozen process for a new worker; return the new claims' tokens and how many each took.

    Raises:
        NotDrained: the frozen process keeps what it holds.
    """
    presence.heartbeat_is_on = False
    held = set(Delivery.objects.filter(claim_token__isnull=False).values_list("consumer", flat=True))
    bury()
    deadline = time.monotonic() + PATIENCE
    while Delivery.objects.filter(claim_token__isnull=False).exists():
        rescue.rescue()
        if time.monotonic() > deadline:
            raise NotDrained
        time.sleep(0.01)
    me, claims = presence.presence().id, Counter[str]()
    for name in sorted(held):
        token = mutants.claim_token(name)
        for alone in (True, False):
            claims[str(token)] += store().claim(consumer=name, token=token, worker=me, limit=100, alone=alone)
    return dict(claims)


def claims() -> dict[str, int]:
    """Return how many deliveries each claim has."""
    return Counter(str(token) for token in Delivery.objects.values_list("claim_token", flat=True))


def give_back() -> None:
    """End as a worker does that is told to: what it has claimed goes back, and no death is counted."""
    for token in Delivery.objects.exclude(claim_token=None).values_list("claim_token", flat=True).distinct():
        store().release(token)


def as_client() -> None:
    """Publish and repair, while others relay and deliver; be their scheduler."""
    presence.heartbeat_is_on = False
    for act in (publish_all, _await_others, operate, _await_others):
        act()


def _await_others() -> None:
    began = progressed_at = time.monotonic()
    seen: tuple[int, ...] = ()
    while not is_drained():
        if (now := tuple(model.objects.count() for model in (OutboxEntry, Delivery, Attempt))) != seen:
            seen, progressed_at = now, time.monotonic()
        if time.monotonic() > min(progressed_at + 2 * PATIENCE, began + ENDLESS):
            raise NotDrained
        rescue.rescue()
        time.sleep(0.1)
    while rollups.fold():
        pass


def publish_all() -> None:
    """Book a trip of each kind and place orders; one booking is rolled back."""
    known = set(Trip.objects.values_list("number", flat=True))
    for number, kind in enumerate(KINDS):
        if number not in known:
            with failpoints.atomic("publisher"):
                book(number, kind)
    try:
        with transaction.atomic():
            book(1000, "rolled back")
            raise _RolledBack
    except _RolledBack:
        pass
    for number, failure in enumerate(ORDERS):
        place_order(NewOrder.model_validate(OrderMaker(seed=1).draft(number, failure=failure)))


def book(number: int, kind: str) -> None:
    Trip.objects.create(number=number, kind=kind, message_id=publish(TripBooked(number=number, kind=kind), key="gate"))


def leave_claims_behind() -> None:
    """Claim two trips as a worker that died: the sweep's first rescue finds them."""
    for number in (LEFT_BEHIND, LAST_CHANCE):
        with transaction.atomic():
            book(number, "plain")
        store().relay(100)
        store().claim(consumer=HOLD_SEAT, token=new_id(), worker=new_id(), limit=100, alone=False)
    last = Trip.objects.get(number=LAST_CHANCE).message_id
    Delivery.objects.filter(message_id=last, consumer=HOLD_SEAT).update(crashes=options().crash_limit - 1)


class Station:
    """A relay, a worker and a scheduler that take turns."""

    def __init__(self) -> None:
        self._relay = Relay()
        self._relay._presence.start()
        presence.name_session(self._relay._presence.id)

    def drain(self, is_done: Callable[[], bool] | None = None) -> None:
        """Work until nothing is left.

        Raises:
            NotDrained: it is stuck, or has no end.
        """
        began = progressed_at = time.monotonic()
        while not (is_done or is_drained)() and not is_retired():
            if time.monotonic() > min(progressed_at + PATIENCE, began + ENDLESS):
                raise NotDrained
            if self._relay.step() + serve_wakeups():
                progressed_at = time.monotonic()
            else:
                rescue.rescue()
                time.sleep(0.01)
        while rollups.fold():
            pass


def is_drained() -> bool:
    return not OutboxEntry.objects.exists() and not Delivery.objects.exists()


def serve_wakeups() -> int:
    """Do what a Celery worker does: take a wake-up off each queue, and run the task."""
    served = 0
    for declared in all_consumers():
        if _take(declared.queue):  # one a round: a consumer that never ends must not keep the others waiting
            failpoints.reach("wake.taken")
            deliver(declared.name)
            served += 1
    return served


def _take(queue: str) -> bool:
    message = _bound(queue).get(no_ack=True)
    return message is not None


@cache
def _bound(queue: str) -> Any:
    named: Any = Queue
    bound = named(queue, durable=True).bind(_channel())
    bound.queue_declare()  # RabbitMQ lets nobody read from a queue that nobody declared
    return bound


@cache
def _channel() -> Any:
    return current_app.pool.acquire().default_channel


def operate() -> None:
    """Repair one dead letter in each way. A request id makes doing it again harmless."""
    actor = command_line("ana")
    for kind, repair in REPAIRS.items():
        trip = Trip.objects.get(kind=kind)
        repair(DeadLetter.objects.get(message_id=trip.message_id, consumer=HOLD_SEAT, run=1), actor)


def _replay(row: DeadLetter, actor: Actor) -> None:
    replay_dead_letters(ids=[row.id], actor=actor, reason="The seat is free now.", request_id="replay")


def _resubmit(row: DeadLetter, actor: Actor) -> None:
    body = '{"number": 500, "kind": "plain"}'
    resubmit_dead_letter(id=row.id, body=body, actor=actor, reason="Another train.", request_id="resubmit")


def _discard(row: DeadLetter, actor: Actor) -> None:
    discard_dead_letters(ids=[row.id], actor=actor, reason="The passenger gave up.", request_id="discard")


REPAIRS: dict[str, Callable[[DeadLetter, Actor], None]] = {
    "replayed": _replay,
    "resubmitted": _resubmit,
    "discarded": _discard,
}
