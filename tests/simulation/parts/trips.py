"""Trips: a saga of three steps, whose provider refuses, keeps silent, or answers about when the timeout fires."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.db import transaction

from messaging import Context, Event, Saga, SagaData, State, Step, clock, consumer, on, publish, starts, timeout
from messaging.actors import Actor, command_line
from messaging.errors import PermanentError
from messaging.models import DeadLetter, SagaInstance
from messaging.operations import compensate_saga, fire_saga_timeout, replay_dead_letters, retry_saga
from tests.simulation import stage
from tests.simulation.actors import Client
from tests.simulation.cast.consumers import SOON, Trouble
from tests.simulation.cast.models import Line, Sent
from tests.simulation.oracle import Facts
from tests.simulation.parts import trip_oracle
from tests.simulation.parts.part import Act, Choice, Part, taken_out
from tests.simulation.stage import world

TRIP, PROVIDER = "cast.Trip", "cast.provider"
STEPS = ("seat", "meal", "fare")
ANSWERS = ("yes", "yes", "yes", "yes", "no", "silent", "late")
HANDLING = ("", "", "", "fails:1", "fails:2", "kills:1", "moody", "moody")
WAIT = 8


class Planned(Event, version=1, name="cast.Planned"):
    trip: str
    answers: dict[str, str]
    handling: str


class Wanted(Event, version=1, name="cast.Wanted"):
    trip: str
    step: str
    answer: str


class Unwanted(Event, version=1, name="cast.Unwanted"):
    trip: str
    step: str


class SeatHad(Event, version=1, name="cast.SeatHad"):
    trip: str


class MealHad(Event, version=1, name="cast.MealHad"):
    trip: str


class FareHad(Event, version=1, name="cast.FareHad"):
    trip: str


class MealBack(Event, version=1, name="cast.MealBack"):
    trip: str


class Refused(Event, version=1, name="cast.Refused"):
    trip: str


HAD: dict[str, Callable[..., Event]] = {"seat": SeatHad, "meal": MealHad, "fare": FareHad}


class TripData(SagaData):
    trip: str
    answers: dict[str, str]
    handling: str


class Trip(Saga[TripData], correlation="trip", name=TRIP, retry=SOON, wrong_state="ignore"):
    seating = State()
    dining = State()
    paying = State()
    gone = State(final=True)
    cancelled = State(final=True)

    seat = Step()
    meal = Step(undone_by=MealBack)
    fare = Step()

    @seat.undo
    def give_seat_back(self) -> None:
        self._undo("seat")

    @meal.undo
    def give_meal_back(self) -> None:
        self._undo("meal")

    @fare.undo
    def give_fare_back(self) -> None:
        self._undo("fare")

    @starts(Planned, to=seating)
    def plan(self, event: Planned) -> None:
        self.data = TripData(trip=event.trip, answers=event.answers, handling=event.handling)
        self._want("seat")

    @on(SeatHad, at=seating, to=dining, completes=seat)
    def sit(self, event: SeatHad) -> None:
        self._want("meal")

    @on(MealHad, at=dining, to=paying, completes=meal)
    def dine(self, event: MealHad) -> None:
        self._want("fare")

    @on(FareHad, at=paying, to=gone, completes=fare)
    def go(self, event: FareHad) -> None:
        self._note("goes")

    @on(Refused, at=(seating, dining, paying), to=cancelled, compensates=True)
    def do_without(self, event: Refused) -> None:
        self._note("is refused")

    @timeout(WAIT, at=seating, to=cancelled, compensates=True)
    def no_seat(self) -> None:
        self._note("waits in vain")

    @timeout(WAIT, at=(dining, paying), to=cancelled, compensates=True)
    def no_trip(self) -> None:
        self._note("waits in vain")

    def _want(self, step: str) -> None:
        self._note(f"wants {step}")
        publish(Wanted(trip=self.data.trip, step=step, answer=self.data.answers.get(step, "yes")))

    def _undo(self, step: str) -> None:
        self._note(f"undoes {step}")
        publish(Unwanted(trip=self.data.trip, step=step))

    def _note(self, what: str) -> None:
        """Do the work first, and fail after it."""
        Line.objects.create(about=self.correlation, what=what)
        _stumble(self.data.handling, self.context)


@consumer(Wanted, Unwanted, name=PROVIDER, retry=SOON, guarantee="at_least_once")
def provide(event: Wanted | Unwanted, context: Context) -> None:
    """Answer, perhaps twice; what is had once is not had again."""
    stage.work(0.05)
    if isinstance(event, Unwanted):
        _book(event.trip, f"{event.step} back")
        if event.step == "meal":
            publish(MealBack(trip=event.trip))
    elif event.answer == "no":
        publish(Refused(trip=event.trip))
    elif event.answer != "silent":
        _book(event.trip, f"{event.step} had")
        delay = world().rng.uniform(WAIT - 4, WAIT + 4) if event.answer == "late" else None
        publish(HAD[event.step](trip=event.trip), delay=delay)


def _book(trip: str, what: str) -> None:
    with transaction.atomic():
        Line.objects.get_or_create(about=trip, what=what)


def _stumble(handling: str, context: Context) -> None:
    """Fail as planned; what is moody gives up one time in three, for people to repair."""
    if handling == "moody" and world().faults_are_on and world().rng.random() < 1 / 3:
        raise PermanentError("Not today.")
    what, _, count = handling.partition(":")
    if count and context.attempt <= int(count):
        if what == "kills":
            stage.kill()
        raise Trouble


class Trips(Part):
    consumers = taken_out(TRIP, PROVIDER)

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.choice([1, 1, 2])), _plan)]

    def choices(self) -> Sequence[Choice]:
        return (_compensate, _fire_timeout, _retry)

    def is_at_rest(self) -> bool:
        """Replay what gave up, as a person would: without it a saga waits for ever."""
        dead = DeadLetter.objects.filter(consumer__in=(TRIP, PROVIDER), state=DeadLetter.State.OPEN)
        ids = list(dead.order_by("id").values_list("id", flat=True))
        if ids:
            replay_dead_letters(ids=ids, actor=command_line("closer"), reason="The end.")
        return not ids

    def violations(self, facts: Facts) -> Iterator[str]:
        yield from trip_oracle.violations(Trip.definition, consumers=(TRIP, PROVIDER))


def _plan(number: int) -> None:
    """Plan a trip, perhaps twice."""
    rng = world().rng
    event = Planned(
        trip=f"trip-{number}", answers={step: rng.choice(ANSWERS) for step in STEPS}, handling=rng.choice(HANDLING)
    )
    for turn in range(2 if rng.random() < 0.3 else 1):
        with transaction.atomic():
            message_id = publish(event, key=event.trip)
            Sent.objects.create(what="trip", number=number * 10 + turn, message_id=message_id, at=clock.now())


# ── Operators ──


def _unfinished() -> SagaInstance | None:
    rows = list(SagaInstance.objects.order_by("correlation"))
    wanted = [row for row in rows if row.ended_at is None or world().rng.random() < 0.2]
    return world().rng.choice(wanted) if wanted else None


def _about(row: SagaInstance, actor: Actor, request: Callable[[], str]) -> dict[str, Any]:
    return {
        "saga": TRIP, "correlation": row.correlation, "actor": actor, "reason": "It takes too long.",
        "request_id": request(),
    }  # fmt: skip


def _compensate(actor: Actor, request: Callable[[], str]) -> Act | None:
    row = _unfinished()
    return partial(compensate_saga, **_about(row, actor, request)) if row else None


def _fire_timeout(actor: Actor, request: Callable[[], str]) -> Act | None:
    row = _unfinished()
    if row is None or not row.timeouts:
        return None
    return partial(fire_saga_timeout, timeout=min(row.timeouts), **_about(row, actor, request))


def _retry(actor: Actor, request: Callable[[], str]) -> Act | None:
    row = _unfinished()
    return partial(retry_saga, **_about(row, actor, request)) if row else None
