"""What the processes of a simulated system do: the roles of the bus, its producers, its operators."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.utils import DatabaseError, InterfaceError

from messaging import publish, tasks
from messaging.delivery import loop, presence
from messaging.ingest import ingest
from messaging.relay import Relay
from tests.simulation.broker import Broker
from tests.simulation.cast import plans
from tests.simulation.cast.consumers import BOOKING_CONSUMERS
from tests.simulation.cast.events import Booked
from tests.simulation.cast.models import Booking
from tests.simulation.stage import world
from tests.simulation.world import Process

Tick = Callable[[], Any]
TICKS: tuple[Tick, ...] = (
    tasks.rescue_orphans.run,
    tasks.fold_rollups.run,
    tasks.resume_expired_pauses.run,
)
TICK_SECONDS = 5.0


class _RolledBack(Exception):
    pass


def relay(process: Process) -> None:
    def act() -> None:
        stop: Any = loop.stopping
        Relay().run(stop)

    world().spawn(process, "relay", act)


def worker(broker: Broker) -> Callable[[Process], None]:
    def act() -> None:
        stopping = loop.stopping
        while not stopping.is_set():
            consumer = broker.take()
            if consumer is None:
                world().sleep(2.0, lambda: broker.has_any() or stopping.is_set())
                continue
            world().note(f"woken for {consumer}")
            tasks.deliver.run(consumer)
        presence.sign_off()

    def start(process: Process) -> None:
        world().spawn(process, "worker", act)

    return start


def scheduler(more: Sequence[Tick]) -> Callable[[Process], None]:
    """A maintenance worker and the beat that ticks for it."""

    def act() -> None:
        while True:
            for tick in (*TICKS, *more):
                try:
                    tick()
                except (DatabaseError, InterfaceError):
                    world().note("the task failed")  # as a Celery task does; the next tick does its work
            world().sleep(TICK_SECONDS)

    def start(process: Process) -> None:
        world().spawn(process, "ticks", act)

    return start


class Client:
    """Does one thing after the other, and goes on after its process has died."""

    def __init__(self, numbers: Iterable[int], one: Callable[[int], None]) -> None:
        self.waiting = list(numbers)
        self._one = one

    def start(self, process: Process) -> None:
        world().spawn(process, "producer", self._act)

    def _act(self) -> None:
        while self.waiting:
            number = self.waiting[0]
            world().sleep(world().rng.random() * 2)
            try:
                self._one(number)
            except (DatabaseError, InterfaceError):
                world().note(f"booking {number}: the outcome is unknown")
            if number in self.waiting:
                self.waiting.remove(number)


class Producer(Client):
    """Publishes bookings, one by one: some are rolled back, some come from outside, twice or under a used id."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__(range(first, first + count), self._book)

    def _book(self, number: int) -> None:
        how = world().rng.random()
        if how < 0.15:
            self._roll_back(number)
        elif how < 0.4:
            self._from_outside(number)
        else:
            with transaction.atomic():
                book(number)

    def _roll_back(self, number: int) -> None:
        try:
            with transaction.atomic():
                book(number)
                raise _RolledBack
        except _RolledBack:
            pass

    def _from_outside(self, number: int) -> None:
        rng = world().rng
        data = {"number": number, "plans": plans.draw(rng, BOOKING_CONSUMERS, trouble=world().profile.trouble)}
        raw = json.dumps({"type": "cast.Booked", "version": 1, "id": f"outside-{number}", "data": data}).encode()
        for _ in range(rng.randint(1, 3)):
            try:
                ingest(raw, content_type="application/json", source="outside")
            except (DatabaseError, InterfaceError):
                world().note(f"ingest {number}: the outcome is unknown")
        if rng.random() < 0.3:
            ingest(raw.replace(b'"plans"', b'"plans" '), content_type="application/json", source="outside")
            ingest(raw.replace(b'"data"', b'"key": "other", "data"'), content_type="application/json", source="outside")


def book(number: int) -> None:
    chosen = plans.draw(world().rng, BOOKING_CONSUMERS, trouble=world().profile.trouble)
    with transaction.atomic():
        rng = world().rng
        key = f"key-{rng.randint(1, 2)}" if rng.random() < 0.7 else None
        delay = rng.uniform(1, 15) if rng.random() < 0.15 else None
        message_id = publish(Booked(number=number, plans=chosen), key=key, delay=delay)
        Booking.objects.create(number=number, message_id=message_id)
