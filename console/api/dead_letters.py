from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Status

from console.api import idempotency, payloads
from console.api.authentication import Bearer, actor_of
from console.api.details import DeadLetterOut
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import DeadLetterQuery, Done, Listing, ResubmitRequest, Resubmitted, RevealQuery, Why
from console.api.single import done
from messaging import operations
from messaging.contracts import exact
from messaging.errors import OperationRefused
from messaging.queries import dead_letters as queries

router = Router(tags=["dead letters"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}
_KIND = "dead letter"
_BODY = re.compile(r"\Abody\b")
"""What the operation calls ``body`` stands in ``data`` here, as it does where messages are published."""


@router.get(
    "", auth=Bearer("read"), response=answers({200: Listing[queries.DeadLetterRow]}), operation_id="list_dead_letters"
)
def list_dead_letters(request: HttpRequest, query: Query[DeadLetterQuery]) -> Any:
    """List dead letters, newest first; unresolved ones unless `state` says otherwise."""
    query.only_known(request)
    where = queries.DeadLetterFilter(**query.filters())
    page = queries.list_dead_letters(where, limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.older}


@router.get(
    "/{dead_letter_id}", auth=Bearer("read"), response=answers({200: DeadLetterOut}), operation_id="get_dead_letter"
)
def get_dead_letter(request: HttpRequest, dead_letter_id: UUID, query: Query[RevealQuery]) -> Any:
    """One dead letter with its error, traceback and body."""
    found = queries.get_dead_letter(dead_letter_id)
    if found is None:
        raise not_found(f"{_KIND} of this id")
    reveal = payloads.is_revealed(request, query, target=f"dead_letter:{dead_letter_id}")
    return DeadLetterOut.of(
        found, payloads.view(type=found.type, version=found.version, body=found.body, reveal=reveal)
    )


@router.post(
    "/{dead_letter_id}/replay",
    auth=Bearer("operate"),
    response=answers({202: Done}),
    openapi_extra=_CHANGE,
    operation_id="replay_dead_letter",
)
def replay(request: HttpRequest, dead_letter_id: UUID, payload: Why) -> Any:
    """Run the message again, unchanged, for the consumer that failed."""
    result = operations.replay_dead_letters(
        ids=[dead_letter_id],
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return Status(202, done(dead_letter_id, result, status="replaying", kind=_KIND, find=queries.get_dead_letter))


@router.post(
    "/{dead_letter_id}/discard",
    auth=Bearer("operate"),
    response=answers({200: Done}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="discard_dead_letter",
)
def discard(request: HttpRequest, dead_letter_id: UUID, payload: Why) -> Any:
    """Give the message up for this consumer, on purpose."""
    result = operations.discard_dead_letters(
        ids=[dead_letter_id],
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return done(dead_letter_id, result, status="discarded", kind=_KIND, find=queries.get_dead_letter)


@router.post(
    "/{dead_letter_id}/resubmit",
    auth=Bearer("operate"),
    response=answers({202: Resubmitted}),
    openapi_extra=_CHANGE,
    operation_id="resubmit_dead_letter",
)
def resubmit(request: HttpRequest, dead_letter_id: UUID, payload: ResubmitRequest) -> Any:
    """Publish a corrected copy as a new message; the original is resolved when the copy is handled."""
    try:
        result = operations.resubmit_dead_letter(
            id=dead_letter_id,
            body=exact.dumps(payload.data).decode(),
            actor=actor_of(request),
            reason=payload.reason,
            audience=payload.audience,
            headers=payload.headers,
            request_id=idempotency.request_id(request),
        )
    except OperationRefused as refused:
        refused.field = _BODY.sub("data", refused.field)
        raise
    return Status(202, {"id": dead_letter_id, "status": "resubmitting", "message_id": result.message_id})
