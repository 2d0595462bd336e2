from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query, Schema, Status
from pydantic import Field

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.responses import Router, answers
from console.api.schemas import AuditQuery, Listing
from messaging import operations
from messaging.queries import audit, chain, overview

router = Router(tags=["overview"])


class Outcomes(Schema):
    consumer: str
    outcome: str
    count: int
    duration_us: int
    critical_us: int


class CheckRequested(Schema):
    is_requested: bool


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


@router.get(
    "/audit/chain", auth=Bearer("read"), response=answers({200: chain.ChainStatus}), operation_id="get_audit_chain"
)
def get_audit_chain(request: HttpRequest) -> Any:
    """How far the hash chains reach (attempts, audit records, moves of sagas), and what was verified last."""
    return chain.chain_status()


@router.post(
    "/audit/chain/check",
    auth=Bearer("operate"),
    response=answers({202: CheckRequested}, changes=True),
    openapi_extra={"parameters": [idempotency.PARAMETER]},
    operation_id="check_audit_chain",
)
def check_audit_chain(request: HttpRequest) -> Any:
    """Have a worker verify the whole chain; read the result from `GET /audit/chain`."""
    operations.request_chain_check(actor=actor_of(request), request_id=idempotency.request_id(request))
    return Status(202, {"is_requested": True})
