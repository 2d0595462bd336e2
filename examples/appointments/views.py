"""The clinic's HTTP face: it takes what patients ask for, and answers how far it got."""

from __future__ import annotations

from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from pydantic import BaseModel, ConfigDict, Field

from examples.appointments import requesting
from examples.appointments.calendar import PLANS, SLOTS_A_DAY, plan_id
from examples.appointments.events import SlotStart
from examples.appointments.models import Appointment
from examples.appointments.projections import used_share
from examples.appointments.requesting import NewAppointment
from examples.problems import Refusals, problem, taking


class NewTime(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    starts_at: SlotStart


class Cancellation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] = "the patient does not need it"


_REFUSALS: Refusals = {
    requesting.TooLate: lambda error: problem(422, f"starts_at: {error}", field="starts_at"),
    requesting.Refused: lambda error: problem(HTTPStatus.CONFLICT, str(error)),
    Appointment.DoesNotExist: lambda _: problem(HTTPStatus.NOT_FOUND, "There is no such appointment."),
}


@csrf_exempt  # no cookie gives anyone a right here
@require_POST
@taking("an appointment", _REFUSALS)
def appointments(request: HttpRequest) -> HttpResponse:
    """Take an appointment: 201, 200 when it was taken before, 409 when its id belongs to another."""
    taken = requesting.request(NewAppointment.model_validate_json(request.body))
    response = JsonResponse(_state(taken.appointment), status=201 if taken.is_new else 200)
    response["Location"] = reverse("clinic-appointment", args=[taken.appointment.id])
    return response


@require_GET
@taking("empty", _REFUSALS)
def appointment(request: HttpRequest, appointment_id: UUID) -> HttpResponse:
    """Answer the state of one appointment."""
    return JsonResponse(_state(Appointment.objects.get(id=appointment_id)))


@csrf_exempt
@require_POST
@taking("a new time", _REFUSALS)
def reschedule(request: HttpRequest, appointment_id: UUID) -> HttpResponse:
    """Ask for another time: 202, 409 when it cannot be moved."""
    wanted = NewTime.model_validate_json(request.body)
    return JsonResponse(_state(requesting.reschedule(appointment_id, wanted.starts_at)), status=202)


@csrf_exempt
@require_POST
@taking("a cancellation", _REFUSALS)
def cancel(request: HttpRequest, appointment_id: UUID) -> HttpResponse:
    """Ask to give it up: 202, 409 when it has ended otherwise."""
    asked = Cancellation.model_validate_json(request.body or b"{}")
    return JsonResponse(_state(requesting.cancel(appointment_id, asked.reason)), status=202)


@require_GET
def schedule(request: HttpRequest, practitioner: str, day: str) -> HttpResponse:
    """Answer a practitioner's day: as it is, or as it was known ``?at=`` a time."""
    try:
        on, at = date.fromisoformat(day), request.GET.get("at")
        known_at = datetime.fromisoformat(at) if at else None
    except ValueError as error:
        return problem(422, f"Days and times are written as ISO 8601 says: {error}.")
    if known_at is not None and known_at.tzinfo is None:
        return problem(422, "at: a time needs its zone, like 2026-12-03T09:30:00Z.", field="at")
    if len(practitioner) > 40:
        return problem(HTTPStatus.NOT_FOUND, "There is no such practitioner.")
    plan = PLANS.load(plan_id(practitioner, on), at=known_at)
    return JsonResponse(
        {
            "practitioner": practitioner,
            "day": on.isoformat(),
            "version": plan.version,
            "slots": {slot: str(booking) for slot, booking in sorted(plan.state.slots.items())},
            "free": SLOTS_A_DAY - len(plan.state.slots),
        }
    )


@require_GET
def utilisation(request: HttpRequest, day: str) -> HttpResponse:
    """Answer how full a day is: of the practitioners who have any of it booked, or had."""
    try:
        on = date.fromisoformat(day)
    except ValueError as error:
        return problem(422, f"Days are written as ISO 8601 says: {error}.")
    return JsonResponse({"day": on.isoformat(), "used_share": round(used_share(on), 3)})


def _state(row: Appointment) -> dict[str, object]:
    return {
        "appointment_id": str(row.id),
        "state": row.state,
        "booking_id": str(row.booking_id),
        "practitioner": row.practitioner,
        "starts_at": row.starts_at.isoformat(),
        "room": row.room,
        "is_being_moved": row.wanted_booking_id is not None,
        "reason": row.reason,
    }
