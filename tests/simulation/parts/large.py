"""Large: bodies that lie in a storage, which fails as a broker does, while a sweep looks for what belongs to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, cast

from django.db import transaction

from messaging import Context, Event, clock, consumer, payloads, publish, sweeping
from messaging.errors import BodyUnavailable, StorageUnavailable
from messaging.models import Attempt, DeadLetter, Message
from tests.simulation.actors import Client
from tests.simulation.cast import plans
from tests.simulation.cast.consumers import SOON, work
from tests.simulation.cast.models import Line, Sent
from tests.simulation.oracle import Facts
from tests.simulation.parts.part import Part, taken_out
from tests.simulation.parts.shelf import Shelf
from tests.simulation.stage import world

READER, LEAST, HEAVY = "cast.reader", "cast.reader_least", "cast.heavy"
NAMES = (READER, LEAST, HEAVY)
INLINE = 600
"""Bytes above which a body goes to the storage: some of these, and none of any other part."""
HEAVY_FROM = 50
GRACE = timedelta(seconds=10)
"""Longer than a transaction lasts here, shorter than a run."""


class Carried(Event, version=1, name="cast.Carried"):
    number: int
    text: str
    plans: dict[str, str]


@consumer(Carried, name=READER, retry=SOON)
def read(event: Carried, context: Context) -> None:
    _read(event, context)


@consumer(Carried, name=LEAST, retry=SOON, guarantee="at_least_once")
def read_outside(event: Carried, context: Context) -> None:
    _read(event, context)


@consumer(Carried, name=HEAVY, retry=SOON, filter={"number": [{"numeric": [">=", HEAVY_FROM]}]})
def carry(event: Carried, context: Context) -> None:
    _read(event, context)


def _read(event: Carried, context: Context) -> None:
    if event.text != _text(event.number):
        Line.objects.create(about=str(context.message_id), what="another body")
    work(event.plans, context)


def _text(number: int) -> str:
    """Return what was carried under a number: small or large."""
    return f"{number} " * (number * 10)


def shelf() -> Shelf:
    return cast("Shelf", payloads.storage())


class Large(Part):
    consumers = taken_out(*NAMES)
    guarantees: ClassVar[dict[str, str]] = {READER: "exactly_once", LEAST: "at_least_once", HEAVY: "exactly_once"}
    echoing = NAMES
    options: ClassVar[dict[str, object]] = {"inline_body_bytes": INLINE}

    def __init__(self) -> None:
        self.ticks = (self._sweep,)

    def enter(self) -> None:
        super().enter()
        shelf().files.clear()
        self._grace, sweeping.GRACE = sweeping.GRACE, GRACE

    def leave(self) -> None:
        super().leave()
        sweeping.GRACE = self._grace

    def clients(self) -> list[Client]:
        numbers = [world().rng.randint(1, 99) for _ in range(world().rng.randint(2, 5))]
        return [Client(dict.fromkeys(numbers), _carry)]

    def _sweep(self) -> None:
        sweeping.sweep_bodies(clock.now(), keep_from=clock.now())

    def violations(self, facts: Facts) -> Iterator[str]:
        sent = dict(Sent.objects.filter(what="carry").values_list("message_id", "number"))
        if set(sent) != set(
            Message.objects.filter(type="cast.Carried", causation_id=None).values_list("id", flat=True)
        ):
            yield "I1 what was sent to be carried and what is stored differ"
        for about in Line.objects.filter(what="another body").values_list("about", flat=True):
            yield f"body {about} was read as another than was published"
        for name, id in DeadLetter.objects.filter(error_type=BodyUnavailable.__name__).values_list(
            "consumer", "message_id"
        ):
            yield f"body {id} could not be had for {name}, ever"
        for name in (READER, LEAST):
            handled = Attempt.objects.filter(consumer=name, outcome__in=("handled", "ignored"))
            dead = DeadLetter.objects.filter(consumer=name)
            ended = {*handled.values_list("message_id", flat=True), *dead.values_list("message_id", flat=True)}
            if lost := set(sent) - ended:
                yield f"I1 {name} never ended {len(lost)} messages"
        yield from self._stored()

    def _stored(self) -> Iterator[str]:
        """Every large body is there as long as its message, and none without one."""
        rows = list(Message.objects.filter(blob__isnull=False))
        for row in rows:
            try:
                row.content()
            except BodyUnavailable as error:
                yield f"body {row.id}: {error}"
        later = clock.now() + 2 * GRACE
        sweeping.sweep_bodies(later, keep_from=later)
        if extra := set(shelf().files) - {cast("dict[str, Any]", row.blob)["name"] for row in rows}:
            yield f"body {sorted(extra)} belong to nobody, and were not swept"


def _carry(number: int) -> None:
    try:
        with transaction.atomic():
            trouble = plans.draw(world().rng, NAMES, trouble=world().profile.trouble)
            message_id = publish(Carried(number=number, text=_text(number), plans=trouble))
            Sent.objects.create(what="carry", number=number, message_id=message_id, at=clock.now())
    except StorageUnavailable:
        world().note("the storage did not take it")
