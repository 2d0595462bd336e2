"""Single messages, dead letters and quarantined input as the API gives them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Schema

from console.api.payloads import BodyView
from messaging import contracts
from messaging.queries.messages import DeliveryView, RelatedMessage, Status


class WithBody(Schema):
    data: Any
    data_base64: str | None
    is_masked: bool

    @classmethod
    def of(cls, row: object, body: BodyView) -> dict[str, Any]:
        """Return the fields of this schema, from the row and from its body."""
        own = WithBody.model_fields
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in own}
        if body.is_masked:
            fields["headers"] = contracts.mask_headers(fields["headers"])
        return fields | {name: getattr(body, name) for name in own}


class MessageOut(WithBody):
    id: UUID
    type: str
    version: int
    kind: str
    source: str
    tenant: str
    content_type: str
    headers: dict[str, Any]
    key: str | None
    correlation_id: str
    causation_id: str | None
    trace_id: str
    traceparent: str
    occurred_at: datetime
    published_at: datetime
    status: Status
    deliveries: list[DeliveryView]
    related: list[RelatedMessage]
    related_is_capped: bool


class DeadLetterOut(WithBody):
    id: UUID
    message_id: UUID
    consumer: str
    run: int
    type: str
    version: int
    key: str | None
    correlation_id: str
    reason: str
    attempts: int
    fingerprint: str
    error_type: str
    error_message: str
    location: str
    traceback: str
    dead_at: datetime
    published_at: datetime
    state: str
    resolution: str
    resolved_by: str
    resolved_at: datetime | None
    copy_id: UUID | None
    content_type: str
    headers: dict[str, str]
