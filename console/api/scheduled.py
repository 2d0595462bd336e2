"""What waits for its time: scheduled messages, delayed deliveries, recurring schedules, housekeeping, the outbox."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query
from ninja import Status as Answer

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.problems import Problem, not_found
from console.api.responses import Router, answers
from console.api.schemas import (
    DeliveriesDone,
    Done,
    DueListing,
    Fired,
    Items,
    OptionalWhy,
    OutboxAnswer,
    OutboxQuery,
    ScheduleChanged,
    ScheduledQuery,
    WaitingChange,
    WaitingQuery,
    Why,
)
from console.api.single import done
from messaging import operations
from messaging.operations import DeliveriesResult, DeliveryId
from messaging.queries import messages, outbox, scheduling, storage, waiting
from messaging.tasks import SCHEDULE

router = Router(tags=["scheduled"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}
_KIND = "scheduled message"


@router.get(
    "/scheduled",
    auth=Bearer("read"),
    response=answers({200: DueListing[scheduling.ScheduledRow]}),
    operation_id="list_scheduled",
)
def list_scheduled(request: HttpRequest, query: Query[ScheduledQuery]) -> Any:
    """List messages that wait for their time, the next due first."""
    query.only_known(request)
    page = scheduling.list_scheduled(type=query.type, limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.next}


@router.post(
    "/scheduled/{message_id}/cancel",
    auth=Bearer("operate"),
    response=answers({200: Done}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="cancel_scheduled",
)
def cancel(request: HttpRequest, message_id: UUID, payload: Why) -> Any:
    """Take a message back before its time: it is never delivered."""
    result = operations.cancel_messages(
        ids=[message_id],
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return done(message_id, result, status="cancelled", kind=_KIND, find=messages.get_message)


@router.post(
    "/scheduled/{message_id}/hasten",
    auth=Bearer("operate"),
    response=answers({200: Done}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="hasten_scheduled",
)
def hasten(request: HttpRequest, message_id: UUID, payload: OptionalWhy | None = None) -> Any:
    """Make a message due now."""
    result = operations.hasten_messages(
        ids=[message_id],
        actor=actor_of(request),
        reason=payload.reason if payload else "",
        request_id=idempotency.request_id(request),
    )
    return done(message_id, result, status="due", kind=_KIND, find=messages.get_message)


@router.get(
    "/waiting",
    auth=Bearer("read"),
    response=answers({200: DueListing[waiting.WaitingRow]}),
    operation_id="list_waiting",
)
def list_waiting(request: HttpRequest, query: Query[WaitingQuery]) -> Any:
    """List deliveries that wait for their time (delayed retries, what handlers put off), the next due first."""
    query.only_known(request)
    page = waiting.list_waiting(consumer=query.consumer, limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.next}


@router.post(
    "/waiting/hasten",
    auth=Bearer("operate"),
    response=answers({200: DeliveriesDone}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="hasten_waiting",
)
def hasten_waiting(request: HttpRequest, payload: WaitingChange) -> Any:
    """Make deliveries due now, by the ids that the list gives."""
    return _changed(
        operations.hasten_deliveries(
            ids=_delivery_ids(payload.ids),
            actor=actor_of(request),
            reason=payload.reason,
            request_id=idempotency.request_id(request),
        )
    )


@router.post(
    "/waiting/cancel",
    auth=Bearer("operate"),
    response=answers({200: DeliveriesDone}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="cancel_waiting",
)
def cancel_waiting(request: HttpRequest, payload: WaitingChange) -> Any:
    """Give deliveries up; each becomes a dead letter that is discarded already."""
    return _changed(
        operations.cancel_deliveries(
            ids=_delivery_ids(payload.ids),
            actor=actor_of(request),
            reason=payload.reason,
            request_id=idempotency.request_id(request),
        )
    )


def _delivery_ids(texts: list[str]) -> list[DeliveryId]:
    try:
        return [DeliveryId.parse(text) for text in texts]
    except ValueError as error:
        message = 'An id is "<message id>/<run>/<consumer>", as GET /waiting gives it.'
        raise Problem(422, "invalid", message, errors=[("ids", message)]) from error


def _changed(result: DeliveriesResult) -> dict[str, Any]:
    return result.as_json()


@router.get(
    "/schedules",
    auth=Bearer("read"),
    response=answers({200: Items[scheduling.ScheduleRow]}),
    operation_id="list_schedules",
)
def list_schedules(request: HttpRequest) -> Any:
    """List recurring schedules with their next due times, those that need a person first."""
    return {"items": scheduling.list_schedules()}


@router.get(
    "/schedules/{name}",
    auth=Bearer("read"),
    response=answers({200: scheduling.ScheduleRow}),
    operation_id="get_schedule",
)
def get_schedule(request: HttpRequest, name: str) -> Any:
    """One recurring schedule."""
    found = scheduling.get_schedule(name)
    if found is None:
        raise not_found("schedule of this name")
    return found


@router.post(
    "/schedules/{name}/pause",
    auth=Bearer("operate"),
    response=answers({200: ScheduleChanged}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="pause_schedule",
)
def pause(request: HttpRequest, name: str, payload: Why) -> Any:
    """Fire it no more; what is due meanwhile is not made up for."""
    operations.pause_schedule(
        name=name, actor=actor_of(request), reason=payload.reason, request_id=idempotency.request_id(request)
    )
    return {"name": name, "is_paused": True}


@router.post(
    "/schedules/{name}/resume",
    auth=Bearer("operate"),
    response=answers({200: ScheduleChanged}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="resume_schedule",
)
def resume(request: HttpRequest, name: str, payload: OptionalWhy | None = None) -> Any:
    """Fire it again, from its next due time on."""
    operations.resume_schedule(
        name=name,
        actor=actor_of(request),
        reason=payload.reason if payload else "",
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "is_paused": False}


@router.post(
    "/schedules/{name}/fire",
    auth=Bearer("operate"),
    response=answers({202: Fired}),
    openapi_extra=_CHANGE,
    operation_id="fire_schedule",
)
def fire(request: HttpRequest, name: str, payload: Why) -> Any:
    """Publish its message now, beside its due times."""
    message_id = operations.fire_schedule(
        name=name, actor=actor_of(request), reason=payload.reason, request_id=idempotency.request_id(request)
    )
    return Answer(202, {"name": name, "message_id": message_id})


@router.get(
    "/housekeeping",
    auth=Bearer("read"),
    response=answers({200: Items[scheduling.HousekeepingRow]}),
    operation_id="list_housekeeping",
)
def list_housekeeping(request: HttpRequest) -> Any:
    """List the scheduler's own tasks with their last runs, the ones in trouble first."""
    return {"items": scheduling.housekeeping(SCHEDULE)}


@router.get(
    "/storage", auth=Bearer("read"), response=answers({200: Items[storage.StorageRow]}), operation_id="list_storage"
)
def list_storage(request: HttpRequest) -> Any:
    """List the tables: rows and bytes, since when, how long a row stays, the next pruning."""
    return {"items": storage.storage(SCHEDULE)}


@router.get("/outbox", auth=Bearer("read"), response=answers({200: OutboxAnswer}), operation_id="get_outbox")
def get_outbox(request: HttpRequest, query: Query[OutboxQuery]) -> Any:
    """What committed and no relay has looked at yet: lag, counts by type, rows, the oldest first."""
    query.only_known(request)
    page = outbox.list_outbox(limit=query.limit, after=query.after)
    return {"state": outbox.outbox_state(), "items": page.rows, "next": page.next}
