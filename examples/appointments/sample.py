"""Sample traffic: a request every three seconds, a fifth of them moving or cancelling what stands, some failing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from django.utils import timezone

from examples.appointments import gateway, requesting
from examples.appointments.calendar import SLOTS_A_DAY
from examples.appointments.consumers import AWAY
from examples.appointments.events import FIRST_HOUR, SLOT_MINUTES
from examples.appointments.models import Appointment
from examples.appointments.requesting import NewAppointment
from examples.sampling.flow import Flow

SOURCE = "sample"
PRACTITIONERS = ("dr-adams", "dr-bauer", "dr-chen", "dr-diallo", "dr-eriksen", "dr-fontana", "dr-gupta", "dr-haddad")
PATIENTS = (
    "Ada Byron",
    "Ben Okri",
    "Cleo Marsh",
    "Dan Petrov",
    "Eva Lindqvist",
    "Finn Moreau",
    "Gita Rao",
    "Hugo Sands",
)
DAYS_AHEAD = 60

FAILURES: dict[str, tuple[dict[str, Any], int]] = {
    "double_asked": ({}, 8),
    "no_room": ({"room_kind": "mri"}, 8),
    "calendar_away": ({"practitioner": AWAY}, 8),
    "slow_gateway": ({"phone": gateway.SLOW}, 6),
    "unknown_number": ({"phone": gateway.UNKNOWN}, 1),
    "unknown_room": ({"room_kind": "hydrotherapy"}, 1),
}
"""Ways to fail and how often each is chosen: the first two are business as usual, the next two heal by retrying, a
number that nobody knows waits for a person, and a room that nobody entered ends with a timeout."""


@dataclass(frozen=True)
class AppointmentMaker:
    """Makes request number n of a seed, whatever was made before it. ``today`` is the day it counts from."""

    seed: int
    today: datetime
    failing_share: float = 0.1

    def draft(self, number: int, *, failure: str | None = None) -> dict[str, Any]:
        """Return the request; ``failure`` forces a way to fail, "" forbids it, None lets the dice decide."""
        dice = random.Random(f"{self.seed}-{number}")
        request: dict[str, Any] = {
            "patient": dice.choice(PATIENTS),
            "phone": f"+49151{dice.randrange(10**7):07}",
            "practitioner": dice.choice(PRACTITIONERS),
            "room_kind": dice.choices(("consultation", "ultrasound", "minor_surgery"), (8, 2, 1))[0],
            "starts_at": self.time(dice),
        }
        if failure is None:
            failure = _choose(dice) if dice.random() < self.failing_share else ""
        if failure == "double_asked" and number:
            before = self.draft(number - 1, failure="")
            return {**request, "practitioner": before["practitioner"], "starts_at": before["starts_at"]}
        return {**request, **(FAILURES[failure][0] if failure else {})}

    def time(self, dice: random.Random) -> datetime:
        """Return the beginning of some slot in the days to come."""
        first = self.today.astimezone(UTC).replace(hour=FIRST_HOUR, minute=0, second=0, microsecond=0)
        minutes = dice.randrange(SLOTS_A_DAY) * SLOT_MINUTES
        return first + timedelta(days=dice.randrange(1, DAYS_AHEAD), minutes=minutes)


def traffic() -> Iterator[None]:
    """Ask for something with every step; the first shows every way to fail on an empty console."""
    maker = AppointmentMaker(seed=random.SystemRandom().getrandbits(48), today=timezone.now())
    opening = _opening()
    for number in count():
        step(maker, number, failure=opening[number] if number < len(opening) else None)
        if number + 1 >= len(opening):
            yield


def step(maker: AppointmentMaker, number: int, *, failure: str | None = None) -> None:
    """Ask for an appointment, or move or cancel one that stands."""
    dice = random.Random(f"{maker.seed}-{number}-what")
    wish = dice.choices(("new", "move", "cancel"), (80, 12, 8))[0] if failure is None else "new"
    standing = _standing() if wish != "new" else None
    with suppress(requesting.Refused, requesting.TooLate):  # it changed meanwhile, as patients' wishes do
        if standing is None:
            requesting.request(NewAppointment.model_validate(maker.draft(number, failure=failure)), source=SOURCE)
        elif wish == "move":
            requesting.reschedule(standing.id, maker.time(dice))
        else:
            requesting.cancel(standing.id, "the patient is well again")


def _standing() -> Appointment | None:
    confirmed = Appointment.objects.filter(source=SOURCE, state=Appointment.State.CONFIRMED, wanted_booking_id=None)
    return confirmed.order_by("-requested_at").first()


def _opening() -> list[str]:
    recent = Appointment.objects.filter(source=SOURCE, requested_at__gt=timezone.now() - timedelta(minutes=10))
    return [] if recent.exists() else ["", *FAILURES, ""]


def _choose(dice: random.Random) -> str:
    weights = [weight for _, weight in FAILURES.values()]
    return dice.choices(list(FAILURES), weights)[0]


APPOINTMENTS = Flow(name="appointments", what="appointments", seconds_between=3, traffic=traffic, first_after=2)
