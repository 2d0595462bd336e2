"""Filtered: subscriptions that want some messages only; what each wants is said here a second time, in Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction

from messaging import Context, Event, clock, consumer, publish
from messaging.models import Attempt, DeadLetter
from tests.simulation.actors import Client
from tests.simulation.cast import plans
from tests.simulation.cast.consumers import SOON, work
from tests.simulation.cast.models import Sent
from tests.simulation.oracle import Facts, bodies
from tests.simulation.parts.part import Part, taken_out
from tests.simulation.stage import world

BIG, BRIGHT, BOTH = "cast.big", "cast.bright", "cast.both"
COLOURS = ("red", "blue", "black", "green", "")
WANTS: dict[str, Callable[[int, str], bool]] = {
    BIG: lambda size, colour: size >= 5,
    BRIGHT: lambda size, colour: colour in ("red", "blue", "black"),
    BOTH: lambda size, colour: size < 8 and colour != "red",
}


class Offered(Event, version=1, name="cast.Offered"):
    size: int
    colour: str
    plans: dict[str, str]


@consumer(Offered, name=BIG, retry=SOON, filter={"size": [{"numeric": [">=", 5]}]})
def big(event: Offered, context: Context) -> None:
    work(event.plans, context)


@consumer(Offered, name=BRIGHT, retry=SOON, guarantee="at_least_once", filter={"colour": ["red", {"prefix": "bl"}]})
def bright(event: Offered, context: Context) -> None:
    work(event.plans, context)


@consumer(
    Offered, name=BOTH, retry=SOON,
    filter={"size": [{"numeric": ["<", 8]}], "headers.colour": [{"anything-but": ["red"]}]},
)  # fmt: skip
def both(event: Offered, context: Context) -> None:
    work(event.plans, context)


class Filtered(Part):
    consumers = taken_out(BIG, BRIGHT, BOTH)
    guarantees: ClassVar[dict[str, str]] = {BIG: "exactly_once", BRIGHT: "at_least_once", BOTH: "exactly_once"}
    echoing = (BIG, BRIGHT, BOTH)

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.randint(2, 4)), _offer)]

    def violations(self, facts: Facts) -> Iterator[str]:
        sent = set(Sent.objects.filter(what="offer").values_list("message_id", flat=True))
        offered = bodies(type="cast.Offered", causation_id=None)
        if sent != set(offered):
            yield "I1 offers that were made and stored differ"
        found = _found()
        for id, body in offered.items():
            for name, wants in WANTS.items():
                yield from _wrong(name, id, body, found[name, id], wants(body["size"], body["colour"]))


def _found() -> defaultdict[tuple[str, UUID], Counter[str]]:
    """Count what became of each offer at each consumer: kept out, or come."""
    found: defaultdict[tuple[str, UUID], Counter[str]] = defaultdict(Counter)
    for name, id, outcome in Attempt.objects.filter(consumer__in=WANTS).values_list(
        "consumer", "message_id", "outcome"
    ):
        found[name, id]["kept out" if outcome == "filtered" else "come"] += 1
    for name, id in DeadLetter.objects.filter(consumer__in=WANTS).values_list("consumer", "message_id"):
        found[name, id]["come"] += 1
    return found


def _wrong(name: str, id: UUID, body: dict[str, Any], found: Counter[str], is_wanted: bool) -> Iterator[str]:
    what = f"size {body['size']} and colour {body['colour'] or 'none'} ({id})"
    if is_wanted and (not found["come"] or found["kept out"]):
        yield f"filter {name} wants {what}: {dict(found) or 'it never came'}"
    if not is_wanted and found["come"]:
        yield f"filter {name} does not want {what}, and it came"
    if not is_wanted and found["kept out"] != 1:
        yield f"filter {name} was kept from {what}, and that is written down {found['kept out']} times"


def _offer(number: int) -> None:
    rng = world().rng
    for turn in range(rng.randint(1, 3)):
        with transaction.atomic():
            size, colour = rng.randint(1, 10), rng.choice(COLOURS)
            trouble = plans.draw(rng, tuple(WANTS), trouble=world().profile.trouble)
            offer = Offered(size=size, colour=colour, plans=trouble)
            delay = rng.uniform(1, 6) if rng.random() < 0.2 else None
            message_id = publish(offer, headers={"colour": colour}, delay=delay)
            Sent.objects.create(what="offer", number=number * 10 + turn, message_id=message_id, at=clock.now())
