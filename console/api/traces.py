from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Schema
from pydantic import Field

from console.api.authentication import Bearer
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import Listing, Moment, Text
from console.api.schemas import Query as ListQuery
from messaging.queries import traces as queries

router = Router(tags=["traces"])


class TraceQuery(ListQuery):
    service: Text = ""
    consumer: Text = ""
    type: Text = ""
    correlation_id: Text = ""
    only_failed: bool = False
    min_ms: float | None = Field(None, ge=0, le=1e12)
    max_ms: float | None = Field(None, ge=0, le=1e12)
    since: Moment | None = None
    until: Moment | None = None


class SpanOut(Schema):
    """One span; times are absolute, ``duration_us`` in microseconds."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str
    started_at: datetime
    duration_us: int
    status: str
    status_message: str
    message_id: UUID | None
    consumer: str
    type: str
    correlation_id: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
    links: list[dict[str, Any]]
    is_critical: bool


class TraceOut(Schema):
    trace_id: str
    name: str
    service: str
    started_at: datetime
    duration_us: int
    errors: int
    correlation_ids: list[str]
    services: list[str]
    spans: list[SpanOut]
    is_capped: bool


@router.get("", auth=Bearer("read"), response=answers({200: Listing[queries.TraceRow]}), operation_id="list_traces")
def list_traces(request: HttpRequest, query: Query[TraceQuery]) -> Any:
    """List traces, newest first."""
    query.only_known(request)
    page = queries.list_traces(queries.TraceFilter(**query.filters()), limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.older}


@router.get("/{trace_id}", auth=Bearer("read"), response=answers({200: TraceOut}), operation_id="get_trace")
def get_trace(request: HttpRequest, trace_id: str) -> Any:
    """One trace with its spans in tree order, those of other services included."""
    found = queries.get_trace(trace_id)
    if found is None:
        raise not_found("trace of this id, or its spans are gone")
    return found
