"""Breakers of consumers and dependencies over REST; the dependencies themselves."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import Changed, Items, OptionalWhy, TripRequest
from messaging import operations
from messaging.operations.limits import Subject
from messaging.queries import limits as queries

router = Router(tags=["dependencies"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}


def trip(request: HttpRequest, kind: Subject, name: str, payload: TripRequest) -> dict[str, str]:
    operations.trip_breaker(
        kind=kind,
        name=name,
        actor=actor_of(request),
        reason=payload.reason,
        until=payload.until,
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "status": "open"}


def reset(request: HttpRequest, kind: Subject, name: str, payload: OptionalWhy | None) -> dict[str, str]:
    operations.reset_breaker(
        kind=kind,
        name=name,
        actor=actor_of(request),
        reason=payload.reason if payload else "",
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "status": "closed"}


@router.get("", auth=Bearer("read"), response=answers({200: Items[queries.GateRow]}), operation_id="list_dependencies")
def list_dependencies(request: HttpRequest) -> Any:
    """List every dependency with its breaker and the consumers that it holds, open ones first."""
    return {"items": queries.list_dependencies()}


@router.get("/{name}", auth=Bearer("read"), response=answers({200: queries.GateRow}), operation_id="get_dependency")
def get_dependency(request: HttpRequest, name: str) -> Any:
    """One dependency."""
    found = queries.get_dependency(name)
    if found is None:
        raise not_found("dependency of this name")
    return found


@router.post(
    "/{name}/trip",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="trip_dependency",
)
def trip_dependency(request: HttpRequest, name: str, payload: TripRequest) -> Any:
    """Open its breaker by hand: no consumer that needs it claims."""
    return trip(request, "dependency", name, payload)


@router.post(
    "/{name}/reset",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="reset_dependency",
)
def reset_dependency(request: HttpRequest, name: str, payload: OptionalWhy | None = None) -> Any:
    """Close its breaker by hand."""
    return reset(request, "dependency", name, payload)
