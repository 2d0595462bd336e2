from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Status

from console.api import bodies, idempotency, payloads
from console.api.authentication import Bearer, actor_of
from console.api.details import MessageOut
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import Accepted, Listing, MessageQuery, PublishRequest, RevealQuery
from messaging import ingest
from messaging.operations import requests
from messaging.queries import messages as queries

router = Router(tags=["messages"])

_CLOUD_EVENT_SCHEMA = {
    "type": "object",
    "description": "A CloudEvents 1.0 event in structured mode.",
    "required": ["specversion", "id", "source", "type"],
    "properties": {name: {"type": "string"} for name in ("specversion", "id", "source", "type")},
}
_PUBLISH = {
    "requestBody": {
        "required": True,
        "content": {
            bodies.JSON: {"schema": PublishRequest.model_json_schema()},
            bodies.CLOUD_EVENT: {"schema": _CLOUD_EVENT_SCHEMA},
        },
    },
    "parameters": [idempotency.PARAMETER],
}


@router.post(
    "",
    auth=Bearer("publish", accepts=(bodies.JSON, bodies.CLOUD_EVENT)),
    response=answers({202: Accepted}),
    openapi_extra=_PUBLISH,
    operation_id="publish",
)
def publish(request: HttpRequest) -> Any:
    """Publish a message: checked against its contract, stored, answered with its id. Refused means nothing stored."""
    key = idempotency.request_id(request)
    if key is None:
        return Status(202, _accept(request))
    asked = hashlib.sha256(f"POST {request.path} {request.content_type}\n".encode() + request.body).hexdigest()
    sender = requests.asker(actor_of(request))
    answer = requests.once_committed(actor_name=sender, request_id=key, fingerprint=asked, act=lambda: _accept(request))
    return Status(202, answer.value)


def _accept(request: HttpRequest) -> dict[str, Any]:
    received = ingest.ingest(
        request.body, content_type=request.content_type or bodies.JSON, source=actor_of(request).name, strict=True
    )
    return {"id": received.message_id, "status": received.outcome}


@router.get("", auth=Bearer("read"), response=answers({200: Listing[queries.MessageRow]}), operation_id="list_messages")
def list_messages(request: HttpRequest, query: Query[MessageQuery]) -> Any:
    """List messages, newest first.

    By `source` or `consumer` a page looks at 2,000 messages at most: it may hold fewer than `limit`, or none. Go on
    while there is a `next`.
    """
    query.only_known(request)
    page = queries.list_messages(queries.MessageFilter(**query.filters()), limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.older}


@router.get("/{message_id}", auth=Bearer("read"), response=answers({200: MessageOut}), operation_id="get_message")
def get_message(request: HttpRequest, message_id: UUID, query: Query[RevealQuery]) -> Any:
    """One message with its deliveries, every attempt, and the messages of its flow."""
    found = queries.get_message(message_id)
    if found is None:
        raise not_found("message of this id")
    reveal = payloads.is_revealed(request, query, target=f"message:{message_id}")
    return MessageOut.of(found, payloads.view(type=found.type, version=found.version, body=found.body, reveal=reveal))
