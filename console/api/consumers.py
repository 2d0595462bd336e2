from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query

from console.api import breakers, idempotency
from console.api.authentication import Bearer, actor_of
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import (
    Changed,
    ConsumerChanged,
    Items,
    KeyReleased,
    KeysQuery,
    LimitsRequest,
    Listing,
    OptionalWhy,
    PauseRequest,
    ReleaseKey,
    TripRequest,
    Why,
)
from messaging import operations
from messaging.queries import consumers as queries
from messaging.queries import lanes

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


@router.post(
    "/{name}/drain",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="drain_consumer",
)
def drain(request: HttpRequest, name: str, payload: Why) -> Any:
    """Finish what was relayed by now, then pause by itself."""
    operations.drain_consumer(
        name=name, actor=actor_of(request), reason=payload.reason, request_id=idempotency.request_id(request)
    )
    return {"name": name, "status": "draining"}


@router.post(
    "/{name}/trip",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="trip_consumer",
)
def trip(request: HttpRequest, name: str, payload: TripRequest) -> Any:
    """Open the consumer's breaker by hand."""
    return breakers.trip(request, "consumer", name, payload)


@router.post(
    "/{name}/reset",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="reset_consumer",
)
def reset(request: HttpRequest, name: str, payload: OptionalWhy | None = None) -> Any:
    """Close the consumer's breaker by hand."""
    return breakers.reset(request, "consumer", name, payload)


@router.post(
    "/{name}/limits",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="override_limits",
)
def override(request: HttpRequest, name: str, payload: LimitsRequest) -> Any:
    """Put a rate, a concurrency or both in place of the code's, until they are cleared."""
    rate = payload.rate
    operations.override_limits(
        name=name,
        actor=actor_of(request),
        reason=payload.reason,
        rate=(rate.count, rate.per, rate.burst) if rate else None,
        concurrency=payload.concurrency,
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "status": "overridden"}


@router.post(
    "/{name}/limits/clear",
    auth=Bearer("operate"),
    response=answers({200: Changed}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="clear_limits",
)
def clear(request: HttpRequest, name: str, payload: OptionalWhy | None = None) -> Any:
    """Let the limits of the code hold again."""
    operations.clear_override(
        name=name,
        actor=actor_of(request),
        reason=payload.reason if payload else "",
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "status": "as declared"}


@router.get(
    "/{name}/blocked-keys",
    auth=Bearer("read"),
    response=answers({200: Listing[lanes.BlockedKey]}),
    operation_id="list_blocked_keys",
)
def list_blocked_keys(request: HttpRequest, name: str, query: Query[KeysQuery]) -> Any:
    """List the keys that wait behind a dead letter, the longest blocked first."""
    query.only_known(request)
    if queries.get_consumer(name) is None:
        raise not_found("consumer of this name")
    found = lanes.blocked_keys(name, limit=query.limit, after=query.after)
    return {"items": found, "next": found[-1].id if len(found) == query.limit else None}


@router.post(
    "/{name}/release-key",
    auth=Bearer("operate"),
    response=answers({200: KeyReleased}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="release_key",
)
def release_key(request: HttpRequest, name: str, payload: ReleaseKey) -> Any:
    """Let the messages of a key go on past its dead letters, which stay open."""
    released = operations.release_key(
        name=name,
        key=payload.key,
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return {"name": name, "key": payload.key, "released": released}
