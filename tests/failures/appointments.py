from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from django.utils import timezone

from examples.appointments import gateway, requesting
from examples.appointments.consumers import AWAY
from examples.appointments.events import FIRST_HOUR, SLOT_MINUTES
from examples.appointments.requesting import NewAppointment
from examples.appointments.sagas import Booking
from tests.failures import Ending, Scenario
from tests.failures.sagas import ending_of

_DAY = 20
"""Slots that are used of a day: each flow has a time of its own, so that none takes another's room."""
_numbers = count()
_REFUSALS: dict[str, dict[str, Any]] = {
    "slot taken": {},
    "no room free": {"room_kind": "mri"},
    "room unknown": {"room_kind": "hydrotherapy"},
    "calendar away": {"practitioner": AWAY},
    "text gateway slow": {"phone": gateway.SLOW},
    "number unknown": {"phone": gateway.UNKNOWN},
    "patient cancels": {},
}


def _start(refusal: str) -> UUID:
    days, slot = divmod(next(_numbers), _DAY)
    day = (timezone.now() + timedelta(days=7 + days)).replace(hour=FIRST_HOUR, minute=0, second=0, microsecond=0)
    wanted = {
        "patient": "Ada Byron", "phone": "+49151000001", "practitioner": "dr-adams",
        "starts_at": day + slot * timedelta(minutes=SLOT_MINUTES), **_REFUSALS.get(refusal, {}),
    }  # fmt: skip
    if refusal == "slot taken":
        requesting.request(NewAppointment.model_validate(wanted))
    row = requesting.request(NewAppointment.model_validate(wanted)).appointment
    if refusal == "patient cancels":
        requesting.cancel(row.id, "well again")
    return row.booking_id


def _look(booking_id: UUID) -> Ending:
    return ending_of(Booking, booking_id)


APPOINTMENTS = Scenario(
    title="Appointments (R2), `appointments.Booking`",
    director=Booking.definition.name,
    consumers=(
        Booking.definition.name, "calendar.book_slot", "calendar.release_slot", "rooms.book_room", "rooms.release_room",
        "appointments.notify",
    ),
    start=_start,
    look=_look,
    refusals=tuple(_REFUSALS),
    is_parallel=True,
)  # fmt: skip
