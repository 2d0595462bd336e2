"""What must hold in the clinic at any moment; ``manage.py verify`` checks it.

This is the auditor's view: the one place that reads the tables of all services, the sagas' and the streams. An effect
that is still on its way (a pending delivery), or that waits for a person (a dead letter), excuses a flow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count

from examples.appointments.calendar import PLANS, plan_id
from examples.appointments.events import SlotBooked, SlotReleased
from examples.appointments.models import Appointment, RoomBooking
from examples.appointments.sagas import Booking, BookingData
from messaging import eventstore
from messaging.verification import invariant

State = Appointment.State
_LIMIT = 21
_PLANS = 1000
"""Days that are read back from their streams, the latest ones."""
_STANDING = {"scheduled", "confirmed", "passed"}
_GIVEN_UP = {"declined", "cancelled", "replaced"}
_AGREEING = {
    State.REQUESTED: set[str](),
    State.SCHEDULED: {"scheduled"},
    State.CONFIRMED: {"confirmed"},
    State.CANCELLING: set[str](),
    State.CANCELLED: {"cancelled", "replaced"},
    State.DECLINED: {"declined"},
    State.PASSED: {"passed"},
}
"""Saga states that agree with an appointment's when nothing is on its way. ``replaced``: cancelled during a move."""


@invariant("appointments: no practitioner is booked twice at a time, at any moment of the history")
def no_practitioner_is_booked_twice() -> Iterator[str]:
    for stream in sorted(_days(_bookings())):
        held: dict[Any, UUID] = {}
        for one in eventstore.read_stream(stream):
            event = one.event
            assert isinstance(event, SlotBooked | SlotReleased)
            if isinstance(event, SlotBooked) and event.starts_at in held:
                yield f"{stream}, event {one.version}: {event.starts_at:%H:%M} was held by {held[event.starts_at]}"
            if isinstance(event, SlotReleased) and held.pop(event.starts_at, None) != event.booking_id:
                yield f"{stream}, event {one.version}: {event.starts_at:%H:%M} was not held by {event.booking_id}"
            if isinstance(event, SlotBooked):
                held[event.starts_at] = event.booking_id


@invariant("appointments: no room is booked twice at a time")
def no_room_is_booked_twice() -> Iterator[str]:
    held = RoomBooking.objects.filter(released_at=None).values("room", "starts_at")
    for row in held.annotate(count=Count("id")).filter(count__gt=1)[:_LIMIT]:
        yield f"room {row['room']} at {row['starts_at']}: held {row['count']} times"


@invariant("appointments: a booking that stands has its slot and its room, one that was given up has neither")
def bookings_hold_what_they_should() -> Iterator[str]:
    bookings, pending = _bookings(), _pending()
    rooms = set(RoomBooking.objects.filter(released_at=None).values_list("booking_id", flat=True))
    for stream, members in sorted(_days(bookings).items()):
        slots = set(PLANS.load(stream.partition("/")[2]).state.slots.values())
        for id in members:
            _, flow, state = bookings[id]
            has_slot, has_room = id in slots, id in rooms
            if state in _STANDING and not (has_slot and has_room):
                yield f"booking {id} is {state}: slot {has_slot}, room {has_room}"
            if state in _GIVEN_UP and (has_slot or has_room) and flow not in pending:
                yield f"booking {id} is {state} and still holds something: slot {has_slot}, room {has_room}"


@invariant("appointments: an appointment's state is its booking's")
def records_agree_with_sagas() -> Iterator[str]:
    bookings, pending = _bookings(), _pending()
    rows = Appointment.objects.exclude(state=State.CANCELLING).exclude(flow__in=pending)
    for id, booking, state, wanted in rows.values_list("id", "booking_id", "state", "wanted_booking_id"):
        found = bookings[booking][2] if booking in bookings else "not begun"
        if _AGREEING[State(state)] and found not in _AGREEING[State(state)]:
            yield f"appointment {id} is {state}, its booking {found}"
        if wanted in bookings and bookings[wanted][2] in _STANDING | _GIVEN_UP:
            yield f"appointment {id} is being moved, but that booking is {bookings[wanted][2]}"


@invariant("appointments: every booking gets somewhere, is on its way, or waits for a person")
def every_booking_gets_somewhere() -> Iterator[str]:
    bookings, pending = _bookings(), _pending(with_scheduled=True)
    for id, (_, flow, state) in bookings.items():
        if state in ("arranging", "scheduled", "compensating") and flow not in pending:
            yield f"booking {id} is {state}, and nothing of its flow is pending, due or dead"
    unfinished = Appointment.objects.filter(state__in=(State.REQUESTED, State.CANCELLING)).exclude(flow__in=pending)
    for row in unfinished[:_LIMIT]:
        yield f"appointment {row.id} is {row.state}, and nothing of its flow is pending, due or dead"


def _bookings() -> dict[UUID, tuple[BookingData, str, str]]:
    """Return the data, flow and state of every saga."""
    rows = _rows(
        "SELECT correlation, data, flow, state FROM messaging_sagainstance WHERE saga = %s", Booking.definition.name
    )
    return {UUID(id): (BookingData.model_validate_json(data), flow, state) for id, data, flow, state in rows}


def _days(bookings: dict[UUID, tuple[BookingData, str, str]]) -> dict[str, list[UUID]]:
    """Group bookings by the stream of their day; the latest days only."""
    days: dict[tuple[date, str], list[UUID]] = defaultdict(list)
    for id, (data, _, _) in bookings.items():
        days[data.starts_at.date(), data.practitioner].append(id)
    latest = sorted(days, reverse=True)[:_PLANS]
    return {PLANS.stream(plan_id(practitioner, day)): days[day, practitioner] for day, practitioner in latest}


def _pending(*, with_scheduled: bool = False) -> set[str]:
    """Return the flows that have work on its way or dead letters; also those that wait for a time, if asked for."""
    waiting = ["messaging_delivery", "messaging_outboxentry", *(["messaging_scheduledmessage"] * with_scheduled)]
    ids = " UNION ".join(f"SELECT message_id FROM {table}" for table in waiting)
    query = f"""
        SELECT correlation_id FROM messaging_message WHERE id IN ({ids})
        UNION SELECT correlation_id FROM messaging_deadletter WHERE state <> 'resolved'"""
    return {flow for (flow,) in _rows(query)}


def _rows(query: str, *values: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())
