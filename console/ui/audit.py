"""Who did what, denials included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, path, reverse
from django.views.decorators.http import require_GET, require_POST

from console.ui import actions
from console.ui.access import actor, viewer
from console.ui.shared import shared
from messaging import operations
from messaging.errors import OperationRefused
from messaging.queries import audit as reads
from messaging.queries.chain import chain_status

FILTERS = ("actor", "action", "outcome", "target")
OUTCOMES = ("done", "refused", "denied")
_PAGES = {
    "consumer": "consumer",
    "message": "message",
    "quarantine": "quarantined",
    "dead_letter": "dead-letter",
    "schedule": "schedule",
}
"""Which page shows a target of this kind."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """An audit record with its target's page and its details in words."""

    row: reads.AuditRow
    kind: str
    name: str
    href: str
    details: str


@require_GET
@viewer
@shared("audit")
def page(request: HttpRequest) -> HttpResponse:
    """Show the audit, newest first, narrowed by the filters of the query string."""
    chosen = {name: request.GET.get(name, "").strip() for name in FILTERS}
    after, before = _cursor(request, "after"), _cursor(request, "before")
    found = reads.list_audit(
        actor=chosen["actor"],
        action=chosen["action"],
        outcome=chosen["outcome"],
        target=chosen["target"],
        after=after,
        before=before,
    )
    context: dict[str, Any] = {
        "lines": [_line(row) for row in found.rows],
        "page": found,
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "is_first": after is None and before is None,
    }
    if request.headers.get("HX-Target") == "chain":
        return render(request, "audit/chain.html", {"chain": chain_status(), "request_id": uuid4()})
    if request.headers.get("HX-Target") == "audit":
        return render(request, "audit/table.html", context)
    return render(request, "audit/list.html", context | _frame())


def _frame() -> dict[str, Any]:
    return {
        "choices": reads.known_choices(), "outcomes": OUTCOMES, "chain": chain_status(), "request_id": uuid4(),
    }  # fmt: skip


@require_POST
@viewer  # the operation itself asks for the permission to operate, and audits a denial
def check(request: HttpRequest) -> HttpResponse:
    """Have the chain verified, and go back to the page that will show the result."""
    try:
        operations.request_chain_check(actor=actor(request), request_id=actions.request_id(request))
    except OperationRefused as refused:
        if refused.code == "forbidden":
            raise PermissionDenied from refused
        messages.error(request, f"{refused} Nothing was verified.")
    else:
        messages.success(request, "The chain is being verified; the result appears here.")
    return redirect("audit")


def _cursor(request: HttpRequest, name: str) -> UUID | None:
    """Return a cursor of the query string; a mangled one is ignored and shows the first page."""
    try:
        return UUID(request.GET[name])
    except (KeyError, ValueError):
        return None


def _line(row: reads.AuditRow) -> Line:
    kind, _, name = row.target.partition(":")
    return Line(
        row=row,
        kind=kind.replace("_", " "),
        name=name,
        href=_href(kind, name),
        details=" · ".join(
            f"{key.replace('_', ' ')} {value}" for key, value in row.details.items() if value is not None
        ),
    )


def _href(kind: str, name: str) -> str:
    try:
        return reverse(_PAGES[kind], args=[name]) if kind in _PAGES and name else ""
    except NoReverseMatch:
        return ""


urlpatterns = [path("audit", page, name="audit"), path("audit/check", check, name="audit-check")]
