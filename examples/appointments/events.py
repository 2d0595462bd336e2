"""What the clinic's services tell and ask each other.

An appointment is what a patient has; a booking is one try to get it a slot and a room. Rescheduling is a new booking
that replaces the one before once it stands. What bears a patient's name or number never enters a stream, which is
kept for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from messaging import Command, Event, Sensitive

SLOT_MINUTES = 30
FIRST_HOUR, LAST_HOUR = 8, 18
"""Opening hours in UTC; the last slot ends at the second."""


def _on_the_grid(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such day in UTC") from None
    if moment.minute % SLOT_MINUTES or moment.second or moment.microsecond:
        raise ValueError(f"slots begin every {SLOT_MINUTES} minutes")
    if not FIRST_HOUR <= moment.hour < LAST_HOUR:
        raise ValueError(f"the clinic is open from {FIRST_HOUR}:00 to {LAST_HOUR}:00 UTC")
    return moment


SlotStart = Annotated[AwareDatetime, AfterValidator(_on_the_grid)]
Patient = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]*$"), Sensitive("patient")]
Phone = Annotated[str, Field(pattern=r"^\+[0-9]{6,15}$"), Sensitive("phone")]
Practitioner = Annotated[str, Field(pattern=r"^dr-[a-z]{2,30}$")]
RoomKind = Annotated[str, Field(pattern=r"^[a-z_]{2,30}$")]


class AppointmentRequested(Event, version=1):
    """A patient asked for an appointment; nothing is booked yet."""

    appointment_id: UUID
    booking_id: UUID
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    room_kind: RoomKind
    starts_at: SlotStart


class AppointmentRescheduleRequested(Event, version=1):
    """A patient asked for another time; the old booking stays until the new one stands."""

    appointment_id: UUID
    booking_id: UUID
    replaces: UUID
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    room_kind: RoomKind
    starts_at: SlotStart


class AppointmentCancellationRequested(Event, version=1):
    """A patient does not want a booking any more."""

    appointment_id: UUID
    booking_id: UUID
    reason: str


class BookSlot(Command, version=1):
    """Book a slot of a practitioner's day."""

    appointment_id: UUID
    booking_id: UUID
    practitioner: Practitioner
    starts_at: SlotStart


class ReleaseSlot(Command, version=1):
    """Give a booked slot back."""

    appointment_id: UUID
    booking_id: UUID
    practitioner: Practitioner
    starts_at: SlotStart


class SlotBooked(Event, version=1):
    """A slot of a practitioner's day belongs to a booking. Event of the day's stream."""

    appointment_id: UUID
    booking_id: UUID
    practitioner: Practitioner
    starts_at: SlotStart


class SlotRefused(Event, version=1):
    """The practitioner is not free then; no slot is held."""

    appointment_id: UUID
    booking_id: UUID
    reason: str


class SlotReleased(Event, version=1):
    """A slot is free again. Event of the day's stream."""

    appointment_id: UUID
    booking_id: UUID
    practitioner: Practitioner
    starts_at: SlotStart


class BookRoom(Command, version=1):
    """Book a room of a kind."""

    appointment_id: UUID
    booking_id: UUID
    room_kind: RoomKind
    starts_at: SlotStart


class ReleaseRoom(Command, version=1):
    """Give a booked room back."""

    appointment_id: UUID
    booking_id: UUID


class RoomBooked(Event, version=1):
    """A room belongs to a booking."""

    appointment_id: UUID
    booking_id: UUID
    room: str


class RoomRefused(Event, version=1):
    """No room of the kind is free then; none is held."""

    appointment_id: UUID
    booking_id: UUID
    reason: str


class RoomReleased(Event, version=1):
    """A room is free again."""

    appointment_id: UUID
    booking_id: UUID


class AppointmentScheduled(Event, version=1):
    """Slot and room are booked; the patient does not know yet."""

    appointment_id: UUID
    booking_id: UUID
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    room: str
    starts_at: SlotStart


class AppointmentRescheduled(Event, version=1):
    """Slot and room are booked at another time; the booking before gives way."""

    appointment_id: UUID
    booking_id: UUID
    replaces: UUID
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    room: str
    starts_at: SlotStart


class PatientNotified(Event, version=1):
    """The patient was told of a booking."""

    appointment_id: UUID
    booking_id: UUID


class AppointmentConfirmed(Event, version=1):
    """Calendar, room and notification have all answered."""

    appointment_id: UUID
    booking_id: UUID


class AppointmentDeclined(Event, version=1):
    """A booking cannot be had; where it would have replaced another, that one stays."""

    appointment_id: UUID
    booking_id: UUID
    replaces: UUID | None
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    starts_at: SlotStart
    reason: str


class AppointmentCancelled(Event, version=1):
    """A booking was given up; slot and room are given back."""

    appointment_id: UUID
    booking_id: UUID
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    starts_at: SlotStart
    reason: str


class AppointmentPassed(Event, version=1):
    """The time of a confirmed appointment is over."""

    appointment_id: UUID
    booking_id: UUID
