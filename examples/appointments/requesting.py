"""What a patient may ask for: the record and the event are saved in one transaction, or neither is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field

from examples.appointments.events import (
    AppointmentCancellationRequested,
    AppointmentRequested,
    AppointmentRescheduleRequested,
    Patient,
    Phone,
    Practitioner,
    RoomKind,
    SlotStart,
)
from examples.appointments.models import Appointment
from messaging import publish
from messaging.context import current_correlation
from messaging.ids import new_id

State = Appointment.State
NOTICE = timedelta(hours=1)
"""An appointment begins so long after it is asked for, or changed, at the earliest."""


class NewAppointment(BaseModel):
    """What a client posts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    appointment_id: Annotated[UUID, Field(default_factory=new_id)]
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    room_kind: RoomKind = "consultation"
    starts_at: SlotStart

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Refused(Exception):
    """What was asked for cannot be done as the appointment stands."""


class TooLate(Exception):
    """The time asked for has passed, or is too near."""


@dataclass(frozen=True)
class Requested:
    appointment: Appointment
    is_new: bool


def request(new: NewAppointment, *, source: str = "") -> Requested:
    """Save the appointment and publish AppointmentRequested; one that was taken before is returned as it is.

    Raises:
        Refused: the id was used for another appointment.
        TooLate: it would begin within NOTICE.
    """
    existing = Appointment.objects.filter(id=new.appointment_id).first()
    if existing is None:
        try:
            return Requested(appointment=_save_and_publish(new, source), is_new=True)
        except IntegrityError:  # the same appointment, posted twice at once: the other one won
            existing = Appointment.objects.filter(id=new.appointment_id).first()
            if existing is None:
                raise
    if existing.digest != new.digest:
        raise Refused(f"{new.appointment_id} belongs to another appointment; make a new id.")
    return Requested(appointment=existing, is_new=False)


def reschedule(appointment_id: UUID, starts_at: datetime) -> Appointment:
    """Ask for another time; the present one stays until the new one is arranged.

    Raises:
        Appointment.DoesNotExist, TooLate: as they say.
        Refused: it is not confirmed, or being moved already.
    """
    _give_notice(starts_at)
    with transaction.atomic():
        row = Appointment.objects.select_for_update().get(id=appointment_id)
        if row.wanted_booking_id is not None:
            raise Refused("It is being moved already; wait for the answer.")
        if row.state != State.CONFIRMED or row.starts_at - timezone.now() < NOTICE:
            raise Refused(f"It is {row.state}; only what is confirmed can be moved, until an hour before.")
        if row.starts_at == starts_at:
            raise Refused("It is at that time already.")
        row.wanted_booking_id = new_id()
        row.reason = ""
        row.save(update_fields=["wanted_booking_id", "reason"])
        event = AppointmentRescheduleRequested(
            appointment_id=row.id,
            booking_id=row.wanted_booking_id,
            replaces=row.booking_id,
            patient=row.patient,
            phone=row.phone,
            practitioner=row.practitioner,
            room_kind=row.room_kind,
            starts_at=starts_at,
        )
        publish(event, key=row.id, correlation_id=row.flow, source=row.source or None)
    return row


def cancel(appointment_id: UUID, reason: str) -> Appointment:
    """Ask to give an appointment up, with whatever is being arranged for it; asking again changes nothing.

    Raises:
        Appointment.DoesNotExist: as it says.
        Refused: it has ended.
    """
    with transaction.atomic():
        row = Appointment.objects.select_for_update().get(id=appointment_id)
        if row.state in (State.CANCELLING, State.CANCELLED):
            return row
        if row.state in (State.DECLINED, State.PASSED):
            raise Refused(f"It is {row.state}.")
        row.state = State.CANCELLING
        row.save(update_fields=["state"])
        for booking in filter(None, (row.booking_id, row.wanted_booking_id)):
            event = AppointmentCancellationRequested(appointment_id=row.id, booking_id=booking, reason=reason)
            publish(event, key=row.id, correlation_id=row.flow, source=row.source or None)
    return row


def _save_and_publish(new: NewAppointment, source: str) -> Appointment:
    _give_notice(new.starts_at)
    event = AppointmentRequested(**new.model_dump(), booking_id=new_id())
    with transaction.atomic():
        row = Appointment.objects.create(
            **event.model_dump(exclude={"appointment_id"}),
            id=new.appointment_id,
            digest=new.digest,
            flow=current_correlation() or str(new.appointment_id),
            source=source,
            requested_at=timezone.now(),
        )
        publish(event, key=row.id, correlation_id=row.flow, source=source or None)
    return row


def _give_notice(starts_at: datetime) -> None:
    if starts_at - timezone.now() < NOTICE:
        raise TooLate("An appointment begins an hour from now at the earliest.")
