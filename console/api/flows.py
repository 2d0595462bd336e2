from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from ninja import Query, Schema
from pydantic import Field

from console.api.authentication import Bearer
from console.api.responses import Router, answers
from console.api.schemas import Listing, Moment, Parameters
from console.api.schemas import Query as ListQuery
from messaging import clock
from messaging.queries import flow_kinds as reads

router = Router(tags=["flows"])
WINDOW = timedelta(hours=1)


class SinceQuery(Parameters):
    since: Moment | None = Field(None, description="Flows that began after this; by default an hour ago.")


class FlowKindsOut(Schema):
    """``since`` is as far back as was read: later than asked for when ``is_capped``."""

    kinds: list[reads.FlowKind]
    since: datetime
    until: datetime
    messages: int
    is_capped: bool


@router.get("", auth=Bearer("read"), response=answers({200: FlowKindsOut}), operation_id="compare_flows")
def compare_flows(request: HttpRequest, query: Query[SinceQuery]) -> Any:
    """Compare business flows by the message that starts them: count, duration, messages per flow, failures."""
    query.only_known(request)
    return reads.flow_kinds(since=query.since or clock.now() - WINDOW)


@router.get(
    "/{path:type}", auth=Bearer("read"), response=answers({200: Listing[reads.FlowRow]}), operation_id="list_flows"
)
def list_flows(request: HttpRequest, type: str, query: Query[ListQuery]) -> Any:
    """List the flows that a message of this type started, newest first."""
    query.only_known(request)
    page = reads.list_flows(type, limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.older}
