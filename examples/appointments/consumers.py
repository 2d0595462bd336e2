"""Calendar, rooms and notification, which do one thing each, and the patient's record of how far it got."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from examples.appointments import calendar, gateway, projections, rooms
from examples.appointments.events import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentDeclined,
    AppointmentPassed,
    AppointmentRescheduled,
    AppointmentScheduled,
    BookRoom,
    BookSlot,
    PatientNotified,
    ReleaseRoom,
    ReleaseSlot,
    RoomBooked,
    RoomRefused,
    RoomReleased,
    SlotBooked,
    SlotRefused,
    SlotReleased,
)
from examples.appointments.models import Appointment, TextMessage
from messaging import Context, Retry, consumer, publish

__all__ = ["projections"]

State = Appointment.State
STANDING = (State.REQUESTED, State.SCHEDULED, State.CONFIRMED, State.CANCELLING)
QUICK = Retry(immediate=2, delays=("5s", "30s"))
AWAY = "dr-okafor"
"""Keeps the calendar on a server of the hospital's, which answers after AWAY_ATTEMPTS attempts failed."""
AWAY_ATTEMPTS = 3

Outcome = (
    AppointmentScheduled | AppointmentRescheduled | AppointmentConfirmed | AppointmentDeclined | AppointmentCancelled
    | AppointmentPassed
)  # fmt: skip
Telling = AppointmentScheduled | AppointmentRescheduled | AppointmentDeclined | AppointmentCancelled


class CalendarUnavailable(Exception):
    """The calendar's server did not answer; asking again changes nothing but the wait."""


@consumer(BookSlot, name="calendar.book_slot", retry=QUICK)
def book_slot(command: BookSlot, context: Context) -> None:
    """Book the slot, or say that it is taken."""
    if command.practitioner == AWAY and context.attempt <= AWAY_ATTEMPTS:
        raise CalendarUnavailable("No answer from the hospital's calendar server.")
    if not calendar.book(SlotBooked(**command.model_dump())):
        reason = f"{command.practitioner} is not free at {command.starts_at:%Y-%m-%d %H:%M}"
        refused = SlotRefused(appointment_id=command.appointment_id, booking_id=command.booking_id, reason=reason)
        publish(refused, key=command.appointment_id)


@consumer(ReleaseSlot, name="calendar.release_slot", retry=QUICK)
def release_slot(command: ReleaseSlot, context: Context) -> None:
    """Give the slot back; the event of the day's stream is the answer."""
    calendar.release(SlotReleased(**command.model_dump()))


@consumer(BookRoom, name="rooms.book_room", retry=QUICK)
def book_room(command: BookRoom, context: Context) -> None:
    """Book any free room of the kind, or say that there is none."""
    ids = {"appointment_id": command.appointment_id, "booking_id": command.booking_id}
    room = rooms.book(command.booking_id, kind=command.room_kind, starts_at=command.starts_at)
    if room is None:
        reason = f"no {command.room_kind} room is free at {command.starts_at:%Y-%m-%d %H:%M}"
        publish(RoomRefused(**ids, reason=reason), key=command.appointment_id)
    else:
        publish(RoomBooked(**ids, room=room), key=command.appointment_id)


@consumer(ReleaseRoom, name="rooms.release_room", retry=QUICK)
def release_room(command: ReleaseRoom, context: Context) -> None:
    """Give the room back."""
    if rooms.release(command.booking_id):
        publish(RoomReleased(**command.model_dump()), key=command.appointment_id)


@consumer(
    AppointmentScheduled, AppointmentRescheduled, AppointmentDeclined, AppointmentCancelled,
    name="appointments.notify",
    guarantee="at_least_once",  # it calls out, and a call cannot be rolled back
    retry=QUICK,
)  # fmt: skip
def notify(event: Telling, context: Context) -> None:
    """Tell the patient by text message, once; of a booking that stands, tell the saga too."""
    reference = _reference(event)
    if TextMessage.objects.filter(reference=reference).exists():
        return  # the process died after the commit below and before the bus noted it
    gateway.send(event.phone, reference=reference, attempt=context.attempt)
    with transaction.atomic():
        TextMessage.objects.create(
            reference=reference, appointment_id=event.appointment_id, phone=event.phone, text=_text(event)[:300],
            sent_at=timezone.now(),
        )  # fmt: skip
        if isinstance(event, AppointmentScheduled | AppointmentRescheduled):
            told = PatientNotified(appointment_id=event.appointment_id, booking_id=event.booking_id)
            publish(told, key=event.appointment_id)


@consumer(
    AppointmentScheduled, AppointmentRescheduled, AppointmentConfirmed, AppointmentDeclined, AppointmentCancelled,
    AppointmentPassed,
    name="appointments.keep_record",
    ordered=True,  # by the appointment, which is the key: what was scheduled last is what counts
    retry=QUICK,
)  # fmt: skip
def keep_record(event: Outcome, context: Context) -> None:
    """Note in the appointment how far it got. Each is one conditional UPDATE: a replay changes nothing."""
    rows = Appointment.objects.filter(id=event.appointment_id)
    mine = rows.filter(booking_id=event.booking_id)
    match event:
        case AppointmentScheduled():
            mine.filter(state__in=STANDING).update(state=_unless_cancelling(State.SCHEDULED), room=event.room)
        case AppointmentConfirmed():
            mine.filter(state=State.SCHEDULED).update(state=State.CONFIRMED)
        case AppointmentRescheduled():
            rows.filter(wanted_booking_id=event.booking_id, state__in=STANDING).update(
                state=_unless_cancelling(State.SCHEDULED), booking_id=F("wanted_booking_id"), wanted_booking_id=None,
                starts_at=event.starts_at, room=event.room,
            )  # fmt: skip
        case AppointmentDeclined():
            mine.filter(state__in=STANDING).update(state=State.DECLINED, reason=event.reason[:300])
            rows.filter(wanted_booking_id=event.booking_id).update(wanted_booking_id=None, reason=event.reason[:300])
        case AppointmentCancelled():
            # Of an appointment that is being cancelled, every booking is: whichever ends first says so.
            ending = rows.filter(Q(booking_id=event.booking_id) | Q(state=State.CANCELLING), state__in=STANDING)
            ending.update(state=State.CANCELLED, wanted_booking_id=None, reason=event.reason[:300])
        case AppointmentPassed():
            mine.filter(state__in=STANDING).update(state=State.PASSED)


def _unless_cancelling(state: Appointment.State) -> Case:
    return Case(When(state=State.CANCELLING, then=F("state")), default=Value(state))


def _reference(event: Telling) -> str:
    kind = type(event).__name__.removeprefix("Appointment").lower()
    # A cancellation during a move ends two bookings; the patient hears of it once.
    about = event.appointment_id if isinstance(event, AppointmentCancelled) else event.booking_id
    return f"{kind}/{about}"


def _text(event: Telling) -> str:
    when = f"{event.practitioner}, {event.starts_at:%Y-%m-%d %H:%M} UTC"
    match event:
        case AppointmentScheduled():
            return f"Your appointment: {when}, room {event.room}."
        case AppointmentRescheduled():
            return f"Your appointment was moved: {when}, room {event.room}."
        case AppointmentCancelled():
            return f"Your appointment was cancelled ({when}): {event.reason}."
        case AppointmentDeclined():
            stays = " Your present appointment stays." if event.replaces else ""
            return f"We could not arrange {when}: {event.reason}.{stays}"
