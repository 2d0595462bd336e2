"""Expiring: messages that no consumer may begin with after their time, and that become dead letters then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction

from messaging import Context, Event, clock, consumer, publish
from messaging.consumers import Consumer
from messaging.delivery import execution
from messaging.models import Attempt, DeadLetter, Message
from tests.simulation import stage
from tests.simulation.actors import Client
from tests.simulation.cast import plans
from tests.simulation.cast.consumers import SOON, work
from tests.simulation.cast.models import Sent
from tests.simulation.monitor import Monitor
from tests.simulation.oracle import Facts
from tests.simulation.parts.part import Part, taken_out
from tests.simulation.stage import world

EXACT, LEAST, MOST = "cast.punctual_exact", "cast.punctual_least", "cast.punctual_most"
NAMES = (EXACT, LEAST, MOST)


class Reminder(Event, version=1, name="cast.Reminder"):
    number: int
    seconds: float
    plans: dict[str, str]


@consumer(Reminder, name=EXACT, retry=SOON)
def exact(event: Reminder, context: Context) -> None:
    _take_time(event, context)


@consumer(Reminder, name=LEAST, retry=SOON, guarantee="at_least_once")
def least(event: Reminder, context: Context) -> None:
    _take_time(event, context)


@consumer(Reminder, name=MOST, retry=SOON, guarantee="at_most_once")
def most(event: Reminder, context: Context) -> None:
    _take_time(event, context)


def _take_time(event: Reminder, context: Context) -> None:
    """Take so long that what was claimed together may expire meanwhile."""
    stage.work(event.seconds)
    work(event.plans, context)


class Expiring(Part):
    consumers = taken_out(*NAMES)
    guarantees: ClassVar[dict[str, str]] = {EXACT: "exactly_once", LEAST: "at_least_once"}
    echoing = (EXACT, LEAST)

    def __init__(self) -> None:
        self._expires_at: dict[UUID, datetime] = {}

    def watch(self, monitor: Monitor) -> None:
        self._monitor = monitor
        monitor.wrap(execution, "call", self._before_handling)

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.randint(1, 3)), self._remind)]

    def _remind(self, number: int) -> None:
        rng = world().rng
        for turn in range(rng.randint(1, 5)):
            with transaction.atomic():
                delay = timedelta(seconds=rng.uniform(1, 6) if rng.random() < 0.3 else 0)
                expires_at = clock.now() + delay + timedelta(seconds=rng.choice([0.5, 1, 2, 4, 15]) * rng.random())
                trouble = plans.draw(rng, NAMES, trouble=world().profile.trouble)
                reminder = Reminder(number=number, seconds=rng.choice([0.001, 0.6]), plans=trouble)
                message_id = publish(reminder, delay=delay or None, expires_at=expires_at)
                self._expires_at[message_id] = expires_at
                Sent.objects.create(what="remind", number=number * 10 + turn, message_id=message_id, at=expires_at)

    def _before_handling(self, consumer: Consumer, what: Any, context: Any, scope: Any) -> None:
        """Look at the clock as the handler begins. A replay is a person's decision."""
        if consumer.name in NAMES and context.run == 1:
            expires_at = self._expires_at.get(context.message_id)
            if expires_at and expires_at <= clock.now():
                self._monitor.say(f"expiry {consumer.name} begins with {context.message_id} after {expires_at}")

    def violations(self, facts: Facts) -> Iterator[str]:
        sent = dict(Sent.objects.filter(what="remind").values_list("message_id", "at"))
        if set(sent) != set(
            Message.objects.filter(type="cast.Reminder", causation_id=None).values_list("id", flat=True)
        ):
            yield "I1 reminders that were sent and stored differ"
        for name in NAMES:
            dead = DeadLetter.objects.filter(consumer=name, run=1)
            handled = Attempt.objects.filter(consumer=name, run=1, outcome__in=("handled", "ignored"))
            ended = {*handled.values_list("message_id", flat=True), *dead.values_list("message_id", flat=True)}
            if lost := set(sent) - ended:
                yield f"expiry {name} never ended {len(lost)} reminders, which vanished"
            for id, dead_at in dead.filter(reason="expired").values_list("message_id", "dead_at"):
                if id not in sent or dead_at < sent[id]:
                    yield f"expiry {name} gave {id} up at {dead_at}, before its time"
        for name, id in DeadLetter.objects.filter(reason="expired", run__gt=1).values_list("consumer", "message_id"):
            yield f"expiry {name} gave up a replay of {id}"
