"""Consumers of every guarantee. Each writes one line for each time it did its work, and says so in a follow-up."""

from __future__ import annotations

from datetime import datetime, timedelta

from messaging import Context, PermanentError, Retry, RetryLater, clock, consumer, publish
from tests.simulation import stage
from tests.simulation.cast import plans
from tests.simulation.cast.events import Booked, Echoed
from tests.simulation.cast.models import Effect

EXACT, LEAST, MOST, ECHO = "cast.exact", "cast.least", "cast.most", "cast.echo"
LANE, SKIPPING = "cast.lane", "cast.skipping"
GUARANTEES = {
    EXACT: "exactly_once", LEAST: "at_least_once", MOST: "at_most_once", ECHO: "exactly_once",
    LANE: "exactly_once", SKIPPING: "exactly_once",
}  # fmt: skip
BOOKING_CONSUMERS = (EXACT, LEAST, MOST, LANE, SKIPPING)
LATER = timedelta(seconds=5)


class Trouble(Exception):
    """It may be better the next time."""


class Beneath(Exception):
    """Not worth a dead letter."""


SOON = Retry(immediate=1, delays=("2s", "7s"), ignore=(Beneath,))


@consumer(Booked, name=EXACT, retry=SOON)
def exact(event: Booked, context: Context) -> None:
    work(event.plans, context)


@consumer(Booked, name=LEAST, retry=SOON, guarantee="at_least_once")
def least(event: Booked, context: Context) -> None:
    work(event.plans, context)


@consumer(Booked, name=MOST, retry=SOON, guarantee="at_most_once")
def most(event: Booked, context: Context) -> None:
    work(event.plans, context)


@consumer(Booked, name=LANE, retry=SOON, ordered=True)
def lane(event: Booked, context: Context) -> None:
    work(event.plans, context)


@consumer(Booked, name=SKIPPING, retry=SOON, ordered=True, on_failure="skip")
def skipping(event: Booked, context: Context) -> None:
    work(event.plans, context)


@consumer(Echoed, name=ECHO, retry=SOON)
def echo(event: Echoed, context: Context) -> None:
    note(context)


def work(given: dict[str, str], context: Context) -> None:
    """Do the work first and fail after it, so that what is left of a failed attempt shows."""
    began = clock.now()
    do(given, context)
    stumble(given, context, began)


def do(given: dict[str, str], context: Context) -> None:
    note(context)
    stage.work(0.2 if plans.of_run(given, context.consumer, context.run) == "slow" else 0.001)
    publish(Echoed(by=context.consumer, run=context.run))


def stumble(given: dict[str, str], context: Context, began: datetime) -> None:
    """Fail as planned."""
    plan = plans.of_run(given, context.consumer, context.run)
    name, _, count = plan.partition(":")
    if name == "kills" and (not count or context.attempt <= int(count)):
        stage.kill()
    if name == "fails" and context.attempt <= int(count):
        raise Trouble
    if plan == "exhausted":
        raise Trouble
    if plan == "permanent":
        raise PermanentError("Never.")
    if plan == "ignored":
        raise Beneath
    if plan == "later" and began < context.published_at + LATER:
        raise RetryLater(timedelta(seconds=2))


def note(context: Context) -> None:
    Effect.objects.create(consumer=context.consumer, message_id=context.message_id, run=context.run, at=clock.now())
