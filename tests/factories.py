"""The cast of the bus's own tests: trains arrive, consumers write them into a ledger, operators repair.

The ledger is a real table, so that what a handler wrote is there if and only if its transaction committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from pydantic import BaseModel

from messaging import Context, Event, Sensitive, consumer, publish, upcast
from messaging.consumers import Consumer, find_consumer, forget_consumer
from messaging.database import store
from messaging.delivery import loop
from messaging.delivery.presence import presence
from messaging.ids import new_id
from messaging.models import Attempt, DeadLetter, Delivery, Message
from messaging.operations import OPERATE, VIEW, Actor
from messaging.subscriptions import synchronise

T = TypeVar("T")
Handler = Callable[[Any, Context], None]

ANA = Actor(name="ana", kind="user", permissions=frozenset({VIEW, OPERATE}), address="10.0.0.7")
BEN = Actor(name="ben", kind="user", permissions=frozenset({VIEW, OPERATE}))
EVE = Actor(name="eve", kind="user", permissions=frozenset({VIEW}))
"""Eve may only look."""
ANNOUNCE, CLEAN = "station.announce", "station.clean"


class TrainArrived(Event, version=1):
    train: str


class DoorsOpened(Event, version=1):
    train: str


class TicketSoldOnPaper(Event, version=1, name="tests.TicketSold"):
    price: str


class TicketSold(Event, version=2, name="tests.TicketSold"):
    price: str
    currency: str


@upcast(TicketSold, from_version=1)
def _add_currency(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


class Seat(BaseModel):
    """Part of PassengersBoarded."""

    number: int
    passenger: Annotated[str, Sensitive("name")]


class PassengersBoarded(Event, version=1):
    train: str
    guard: Annotated[str | None, Sensitive("name")] = None
    seats: list[Seat] = []
    phones: dict[str, Annotated[str, Sensitive("phone")]] = {}


def arrive(*trains: str, **envelope: Any) -> list[UUID]:
    """Publish one arrival for each train, all in one transaction; return the message ids."""
    with transaction.atomic():
        return [publish(TrainArrived(train=train), **envelope) for train in trains]


def write(train: str) -> None:
    """Write a train into the ledger; a second time makes a second line."""
    Group.objects.create(name=f"{train}/{uuid4()}")


def ledger() -> list[str]:
    """Return the trains written down, sorted; one that was written twice is there twice."""
    lines = Group.objects.filter(name__contains="/").values_list("name", flat=True)
    return sorted(line.rpartition("/")[0] for line in lines)


def announce(event: TrainArrived, context: Context) -> None:
    """Write the train down."""
    write(event.train)


class Station:
    """Declares consumers for one test, with their subscriptions; ``close`` forgets them."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def declare(
        self, handler: Handler = announce, *, to: type[Event] = TrainArrived, name: str = ANNOUNCE, **policy: Any
    ) -> Consumer:
        """Declare a consumer and subscribe it; a second declaration of a name is its next release."""
        self.forget(name)
        self._names.add(name)
        consumer(to, name=name, **policy)(handler)
        synchronise()
        declared = find_consumer(name)
        assert declared is not None
        return declared

    def find(self, name: str) -> Consumer | None:
        return find_consumer(name)

    def forget(self, name: str) -> None:
        forget_consumer(name)
        loop._sizers.pop(name, None)

    def close(self) -> None:
        for name in self._names:
            self.forget(name)


def claim(name: str = ANNOUNCE, *, limit: int = 100, alone: bool = False, worker: UUID | None = None) -> UUID:
    """Claim as a worker would, and return the token."""
    token = new_id()
    store().claim(consumer=name, token=token, worker=worker or presence().id, limit=limit, alone=alone)
    return token


def relay() -> int:
    """Relay everything that waits in the outbox."""
    total = 0
    for _ in range(1000):
        taken = store().relay(500).taken
        if not taken:
            return total
        total += taken
    raise AssertionError("The outbox does not empty.")


def outcomes(message_id: UUID | None = None, consumer: str = ANNOUNCE) -> list[str]:
    """Return the outcomes of the attempts, in order."""
    found = Attempt.objects.filter(consumer=consumer)
    if message_id:
        found = found.filter(message_id=message_id)
    return list(found.order_by("id").values_list("outcome", flat=True))


def pending(message_id: UUID, consumer: str = ANNOUNCE) -> Delivery:
    return Delivery.objects.get(message_id=message_id, consumer=consumer)


def dead(message_id: UUID, consumer: str = ANNOUNCE) -> DeadLetter:
    """Return the latest dead letter of a message."""
    return DeadLetter.objects.filter(message_id=message_id, consumer=consumer).order_by("-run")[0]


def trains_of(type_: str) -> list[str]:
    """Return the trains of all stored messages of a type."""
    import json

    bodies = Message.objects.filter(type=type_).values_list("body", flat=True)
    return sorted(json.loads(bytes(body))["train"] for body in bodies)


def elsewhere(act: Callable[[], T]) -> Future[T]:
    """Run in a thread with a database connection of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            future.set_exception(error)
        finally:
            connections.close_all()

    threading.Thread(target=run, daemon=True).start()
    return future


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"
