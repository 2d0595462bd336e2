"""One consumer for each guarantee, and one for the follow-up of the first."""

from __future__ import annotations

from django.db import connection, transaction

from messaging import Context, PermanentError, Retry, consumer, failpoints, publish
from tests.sweep.journey import luggage  # noqa: F401  declared with these
from tests.sweep.journey.events import SeatHeld, TripBooked, TripCharged
from tests.sweep.journey.models import Effect

SOON = Retry(immediate=1, delays=("50ms",))
HOLD_SEAT, PRINT_TICKET, CHARGE, GREET = "journey.hold_seat", "journey.print_ticket", "journey.charge", "journey.greet"
BOARD = "journey.board"
_cut: set[int] = set()


class Bumpy(Exception):
    """It works at a later attempt."""


@consumer(TripBooked, name=HOLD_SEAT, guarantee="exactly_once", retry=SOON)
def hold_seat(event: TripBooked, context: Context) -> None:
    """Leave a trace and a follow-up, then fail in the way of the trip's kind: both must go with the failure."""
    _leave_trace(context)
    if event.kind == "savepoint":
        with transaction.atomic():
            publish(SeatHeld(number=event.number))
    else:
        publish(SeatHeld(number=event.number))
    if event.kind == "flaky" and context.attempt <= 2:
        raise Bumpy
    if event.kind in ("replayed", "resubmitted", "discarded") and context.run == 1:
        raise PermanentError("This trip cannot be had.")
    if event.kind == "cut" and context.attempt <= 2:  # each time counts: a third would be the last
        _cut_connection(event.number)


@consumer(TripBooked, name=BOARD, guarantee="exactly_once", retry=SOON, ordered=True, on_failure="block")
def board(event: TripBooked, context: Context) -> None:
    """One after another, as they were booked: a trip that fails first holds up those behind it."""
    _leave_trace(context)
    if event.kind == "flaky" and context.attempt <= 2:
        raise Bumpy


@consumer(SeatHeld, name=PRINT_TICKET, guarantee="exactly_once", retry=SOON)
def print_ticket(event: SeatHeld, context: Context) -> None:
    _leave_trace(context)


@consumer(TripBooked, name=CHARGE, guarantee="at_least_once", retry=SOON)
def charge(event: TripBooked, context: Context) -> None:
    """Call out, which may take long: hold no connection meanwhile."""
    connection.close()
    failpoints.reach("outside.call")
    _leave_trace(context)
    publish(TripCharged(number=event.number))
    if event.kind == "flaky" and context.attempt == 1:
        raise Bumpy


@consumer(TripBooked, name=GREET, guarantee="at_most_once", retry=SOON)
def greet(event: TripBooked, context: Context) -> None:
    _leave_trace(context)
    if event.kind == "flaky":
        raise Bumpy


def _leave_trace(context: Context) -> None:
    Effect.objects.create(consumer=context.consumer, message_id=context.message_id, run=context.run)


def _cut_connection(number: int) -> None:
    """Once in each process, end the session in the middle of the chunk."""
    if connection.vendor == "postgresql" and number not in _cut:
        _cut.add(number)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
