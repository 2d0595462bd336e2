"""A saga for the bus's own tests: a journey books a seat, then a meal, then confirms; or gives back what it booked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from messaging import Event, Retry, Saga, SagaData, State, Step, on, publish, starts, timeout, when_all
from messaging.sagas import forget_saga


class JourneyPlanned(Event, version=1):
    journey: str
    seats: int = 1


class SeatBooked(Event, version=1):
    journey: str
    seat: str


class SeatRefused(Event, version=1):
    journey: str


class MealBooked(Event, version=1):
    journey: str


class MealRefused(Event, version=1):
    journey: str


class SeatReleased(Event, version=1):
    journey: str


class MealCancelled(Event, version=1):
    journey: str


class JourneyConfirmed(Event, version=1):
    journey: str


class PassengerTold(Event, version=1):
    journey: str


class JourneyRenamed(Event, version=1):
    journey: str
    name: str


class JourneyData(SagaData):
    journey: str
    seats: int
    seat: str = ""
    is_told: bool = False


@contextmanager
def journeys(*, undo: Any = None, **options: Any) -> Iterator[Any]:
    """Declare the saga for one test. ``undo`` replaces the seat's compensation."""

    class Journey(Saga[JourneyData], correlation="journey", name="tests.Journey",
                  **{"retry": Retry(immediate=0, delays=("10s",)), **options}):  # fmt: skip
        """Book a seat and a meal; give back what is booked when the other cannot be had."""

        awaiting_seat = State()
        awaiting_meal = State()
        awaiting_answers = State()
        confirmed = State(final=True)
        cancelled = State(final=True)

        seat = Step()
        meal = Step()

        @seat.undo
        def release_seat(self, booked: SeatBooked) -> None:
            if undo:
                undo()
            publish(SeatReleased(journey=booked.journey))

        @meal.undo
        def cancel_meal(self) -> None:
            publish(MealCancelled(journey=self.data.journey))

        @starts(JourneyPlanned, to=awaiting_seat)
        def plan(self, event: JourneyPlanned) -> None:
            self.data = JourneyData(journey=event.journey, seats=event.seats)

        @on(SeatBooked, at=awaiting_seat, to=awaiting_meal, completes=seat)
        def keep_seat(self, event: SeatBooked) -> None:
            self.data.seat = event.seat

        @on(SeatRefused, at=awaiting_seat, to=cancelled)
        def give_up(self, event: SeatRefused) -> None: ...

        @on(MealBooked, at=awaiting_meal, to=awaiting_answers, completes=meal)
        def keep_meal(self, event: MealBooked) -> None: ...

        @on(MealRefused, at=(awaiting_meal, awaiting_answers), to=cancelled, compensates=True)
        def do_without(self, event: MealRefused) -> None: ...

        @on(JourneyRenamed, at=awaiting_meal)
        def rename(self, event: JourneyRenamed) -> None:
            self.data.journey = event.name

        @when_all(PassengerTold, JourneyConfirmed, at=awaiting_answers, to=confirmed)
        def confirm(self) -> None:
            self.data.is_told = True

        @timeout("15m", at=(awaiting_seat, awaiting_meal), to=cancelled, compensates=True)
        def too_slow(self) -> None: ...

    try:
        yield Journey
    finally:
        forget_saga("tests.Journey")
