from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.responses import Router, answers
from console.api.schemas import Done, Listing, OptionalWhy, QuarantineQuery, Why
from console.api.single import done
from messaging import operations
from messaging.queries import quarantine as queries

router = Router(tags=["quarantine"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}
_KIND = "quarantined message"


@router.get(
    "", auth=Bearer("read"), response=answers({200: Listing[queries.QuarantineRow]}), operation_id="list_quarantined"
)
def list_quarantined(request: HttpRequest, query: Query[QuarantineQuery]) -> Any:
    """List what an ingress received and could not publish, newest first."""
    query.only_known(request)
    page = queries.list_quarantined(state=query.state, kind=query.kind, limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.older}


@router.post(
    "/{quarantined_id}/retry",
    auth=Bearer("operate"),
    response=answers({200: Done}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="retry_quarantined",
)
def retry(request: HttpRequest, quarantined_id: UUID, payload: OptionalWhy | None = None) -> Any:
    """Send it through the ingress again: published if it is accepted now."""
    result = operations.retry_quarantined(
        ids=[quarantined_id],
        actor=actor_of(request),
        reason=payload.reason if payload else "",
        request_id=idempotency.request_id(request),
    )
    return done(quarantined_id, result, status="accepted", kind=_KIND, find=queries.get_quarantined)


@router.post(
    "/{quarantined_id}/discard",
    auth=Bearer("operate"),
    response=answers({200: Done}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="discard_quarantined",
)
def discard(request: HttpRequest, quarantined_id: UUID, payload: Why) -> Any:
    """Give it up, on purpose."""
    result = operations.discard_quarantined(
        ids=[quarantined_id],
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return done(quarantined_id, result, status="discarded", kind=_KIND, find=queries.get_quarantined)
