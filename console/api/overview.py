from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from console.api.authentication import Bearer
from console.api.responses import answers
from console.api.schemas import AuditQuery, Listing
from messaging.queries import audit, overview

router = Router(tags=["overview"])


class Outcomes(Schema):
    consumer: str
    outcome: str
    count: int
    duration_us: int
    critical_us: int


class Stats(Schema):
    vitals: overview.Vitals
    published: int = Field(description="Messages since the beginning.")
    outcomes: list[Outcomes]
    workers: list[overview.WorkerRow]


@router.get("/stats", auth=Bearer("read"), response=answers({200: Stats}), operation_id="get_stats")
def get_stats(request: HttpRequest) -> Any:
    """The state of the bus: backlog, dead letters, outbox, workers, and outcomes since the beginning."""
    totals = overview.totals()
    return {
        "vitals": overview.vitals(),
        "published": sum(row.count for row in totals if not row.consumer),
        "outcomes": [row for row in totals if row.consumer],
        "workers": overview.workers(),
    }


@router.get("/audit", auth=Bearer("read"), response=answers({200: Listing[audit.AuditRow]}), operation_id="list_audit")
def list_audit(request: HttpRequest, query: Query[AuditQuery]) -> Any:
    """List who did what, newest first; denied and refused requests too."""
    query.only_known(request)
    page = audit.list_audit(**query.filters(), limit=query.limit, after=query.after)
    return {"items": page.rows, "next": page.older}
