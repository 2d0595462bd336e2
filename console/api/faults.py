from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.responses import Router, answers
from console.api.schemas import EndFaults, FaultsEnded, InjectFaults, Items
from messaging import operations
from messaging.queries.faults import InjectedFaultRow, injected_faults

router = Router(tags=["faults"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}


@router.get("", auth=Bearer("read"), response=answers({200: Items[InjectedFaultRow]}), operation_id="list_faults")
def list_faults(request: HttpRequest) -> Any:
    """List what goes wrong on purpose now; always empty where the settings do not allow faults."""
    return {"items": injected_faults()}


@router.post(
    "",
    auth=Bearer("operate"),
    response=answers({200: Items[InjectedFaultRow]}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="inject_faults",
)
def inject(request: HttpRequest, payload: InjectFaults) -> Any:
    """Let things go wrong for one consumer, or for all, for a while; 409 where the settings do not allow it."""
    operations.inject_faults(
        consumer=payload.consumer,
        faults=operations.Faults(**payload.model_dump(exclude={"consumer", "lasts_seconds", "reason"})),
        lasts=timedelta(seconds=payload.lasts_seconds),
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return {"items": injected_faults()}


@router.post(
    "/end",
    auth=Bearer("operate"),
    response=answers({200: FaultsEnded}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="end_faults",
)
def end(request: HttpRequest, payload: EndFaults | None = None) -> Any:
    """End what is injected for one consumer, or everything."""
    ended = operations.end_faults(
        consumer=payload.consumer if payload else None,
        actor=actor_of(request),
        request_id=idempotency.request_id(request),
    )
    return {"ended": ended}
