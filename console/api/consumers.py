from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.problems import not_found
from console.api.responses import answers
from console.api.schemas import ConsumerChanged, Items, OptionalWhy, PauseRequest
from messaging import operations
from messaging.queries import consumers as queries

router = Router(tags=["consumers"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}


@router.get("", auth=Bearer("read"), response=answers({200: Items[queries.ConsumerRow]}), operation_id="list_consumers")
def list_consumers(request: HttpRequest) -> Any:
    """List every consumer with its state and backlog, worst first."""
    return {"items": queries.list_consumers()}


@router.get("/{name}", auth=Bearer("read"), response=answers({200: queries.ConsumerRow}), operation_id="get_consumer")
def get_consumer(request: HttpRequest, name: str) -> Any:
    """One consumer."""
    found = queries.get_consumer(name)
    if found is None:
        raise not_found("consumer of this name")
    return found


@router.post(
    "/{name}/pause",
    auth=Bearer("operate"),
    response=answers({200: ConsumerChanged}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="pause_consumer",
)
def pause(request: HttpRequest, name: str, payload: PauseRequest) -> Any:
    """Stop claiming for a consumer; what is in flight finishes, nothing is lost."""
    operations.pause_consumer(
        name=name,
        actor=actor_of(request),
        reason=payload.reason,
        until=payload.until,
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "is_paused": True}


@router.post(
    "/{name}/resume",
    auth=Bearer("operate"),
    response=answers({200: ConsumerChanged}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="resume_consumer",
)
def resume(request: HttpRequest, name: str, payload: OptionalWhy | None = None) -> Any:
    """Claim again for a paused consumer."""
    operations.resume_consumer(
        name=name,
        actor=actor_of(request),
        reason=payload.reason if payload else "",
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "is_paused": False}
