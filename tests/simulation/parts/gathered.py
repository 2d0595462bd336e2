"""Gathered: batch consumers of every guarantee; what is claimed together may be done, fail, or die together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from django.db import transaction
from django.db.models import Sum

from messaging import Batch, BatchContext, Event, clock, consumer, publish
from messaging.models import Attempt, DeadLetter, Message, Total
from messaging.rollups import BATCHES
from tests.simulation.actors import Client
from tests.simulation.cast import plans
from tests.simulation.cast.consumers import SOON, do, stumble
from tests.simulation.cast.models import Effect, Sent
from tests.simulation.oracle import Facts
from tests.simulation.parts.part import Part, taken_out
from tests.simulation.stage import world

EXACT, LEAST, MOST = "cast.gathered_exact", "cast.gathered_least", "cast.gathered_most"
NAMES = (EXACT, LEAST, MOST)
BATCH = Batch(size=4, seconds=1.5)
BLAME = ("Trouble", "PermanentError", "Beneath")
"""Errors that a handler raises because of what it was given."""


class Reading(Event, version=1, name="cast.Reading"):
    number: int
    plans: dict[str, str]


@consumer(Reading, name=EXACT, retry=SOON, batch=BATCH)
def exact(events: list[Reading], batch: BatchContext) -> None:
    _work(events, batch)


@consumer(Reading, name=LEAST, retry=SOON, batch=BATCH, guarantee="at_least_once")
def least(events: list[Reading], batch: BatchContext) -> None:
    _work(events, batch)


@consumer(Reading, name=MOST, retry=SOON, batch=BATCH, guarantee="at_most_once")
def most(events: list[Reading], batch: BatchContext) -> None:
    _work(events, batch)


def _work(events: list[Reading], batch: BatchContext) -> None:
    """Do all of it first, and fail after it for the first that asks for it."""
    began = clock.now()
    for event, context in batch.each(events):
        do(event.plans, context)
    for event, context in batch.each(events):
        stumble(event.plans, context, began)


class Gathered(Part):
    consumers = taken_out(*NAMES)
    guarantees: ClassVar[dict[str, str]] = {EXACT: "exactly_once", LEAST: "at_least_once"}
    echoing = (EXACT, LEAST)

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.randint(1, 3)), _send)]

    def violations(self, facts: Facts) -> Iterator[str]:
        sent = set(Sent.objects.filter(what="gather").values_list("message_id", flat=True))
        if sent != set(Message.objects.filter(type="cast.Reading", causation_id=None).values_list("id", flat=True)):
            yield "I1 what was sent to be gathered and what is stored differ"
        for name in NAMES:
            ended = {
                *Attempt.objects.filter(consumer=name, outcome__in=("handled", "ignored")).values_list("message_id"),
                *DeadLetter.objects.filter(consumer=name).values_list("message_id"),
            }
            if lost := sent - {id for (id,) in ended}:
                yield f"I1 {name} never ended {len(lost)} messages"
            handled = Attempt.objects.filter(consumer=name, outcome="handled").count()
            calls = Total.objects.filter(consumer=name, outcome=BATCHES).aggregate(sum=Sum("count"))["sum"] or 0
            if not calls <= handled <= calls * BATCH.size:
                yield f"I11 {name} counts {calls} calls for {handled} messages"
        done = [tuple(each) for each in Effect.objects.filter(consumer=MOST).values_list("message_id", "run")]
        if len(done) != len(set(done)):
            yield f"I2 {MOST} did {len(done) - len(set(done))} things again"
        yield from self._blamed(facts)

    def _blamed(self, facts: Facts) -> Iterator[str]:
        """A bad message costs its neighbours no failure."""
        failed = Attempt.objects.filter(consumer__in=(EXACT, LEAST), error_type__in=BLAME).exclude(outcome="postponed")
        for name, id, run, number in failed.values_list("consumer", "message_id", "run", "number"):
            if facts.plan((name, id, run)) in (plans.FINE, "slow", "later"):
                yield f"batch {name} blames {id} in attempt {number} of run {run} for what a neighbour did"


def _send(number: int) -> None:
    """Send some at once, so that there is something to gather."""
    rng = world().rng
    for turn in range(rng.randint(1, 5)):
        with transaction.atomic():
            trouble = plans.draw(rng, NAMES, trouble=min(world().profile.trouble, 0.4))
            message_id = publish(Reading(number=number, plans=trouble))
            Sent.objects.create(what="gather", number=number * 10 + turn, message_id=message_id, at=clock.now())
