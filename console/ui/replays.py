"""Operations that take a while: replays of history, begun, watched and aborted here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages as flash
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET, require_POST

from console.actors import actor_of
from console.permissions import CODENAMES
from console.ui import actions
from console.ui.access import may_operate, viewer
from console.ui.shared import shared
from messaging import operations
from messaging.errors import OperationRefused
from messaging.operations import OPERATE
from messaging.queries import audit
from messaging.queries import consumers as consumer_queries
from messaging.queries import replays as queries


@require_GET
@viewer
@shared("operations")
def page(request: HttpRequest) -> HttpResponse:
    """List the replays, newest first."""
    if request.headers.get("HX-Target") == "operations":
        return render(request, "operations/_list.html", {"rows": queries.list_replays()})
    return _list(request)


def _list(request: HttpRequest, *, refused: dict[str, str] | None = None, status: int = 200) -> HttpResponse:
    context = {
        "rows": queries.list_replays(),
        "consumers": [row.name for row in consumer_queries.list_consumers() if row.status != "retired"],
        "refused": refused or {},
        "typed": request.POST,
        "chosen": request.POST.get("consumer") or request.GET.get("consumer", ""),
        "may_operate": may_operate(request),
        "request_id": uuid4(),
    }
    return render(request, "operations/list.html", context, status=status)


@require_GET
@viewer
@shared("operation")
def replay_page(request: HttpRequest, replay_id: UUID) -> HttpResponse:
    """Show one replay: its progress and what it found."""
    return _replay(request, replay_id)


def _replay(
    request: HttpRequest, replay_id: UUID, *, refused: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    row = queries.get_replay(replay_id)
    if row is None:
        raise Http404(f"There is no replay {replay_id}.")
    context = {
        "row": row,
        "records": audit.list_audit(target=f"replay:{replay_id}", limit=20).rows,
        "refused": refused or {},
        "typed": request.POST,
        "may_operate": may_operate(request),
        "request_id": uuid4(),
    }
    is_partial = request.headers.get("HX-Target") == "operation"
    return render(
        request, "operations/_replay.html" if is_partial else "operations/replay.html", context, status=status
    )


@require_POST
@viewer  # the operation itself asks for the permission to operate, and audits a denial
def start(request: HttpRequest) -> HttpResponse:
    """Begin a replay."""
    try:
        id = operations.replay_history(
            consumer=request.POST.get("consumer", ""),
            mode=request.POST.get("mode", ""),
            since=_moment(request, "since"),
            until=_moment(request, "until") if request.POST.get("until") else None,
            rate=_rate(request),
            only_missing=bool(request.POST.get("only_missing")),
            actor=actor_of(request),
            reason=actions.reason_of(request),
            request_id=actions.request_id(request),
        )
    except OperationRefused as refusal:
        return _list(request, refused=_refused(refusal, "start"), status=_status(refusal))
    return redirect("operation", id)


@require_POST
@viewer  # as above
def change(request: HttpRequest, replay_id: UUID, action: str) -> HttpResponse:
    """Abort or resume a replay."""
    act, said = _CHANGES[action]
    try:
        act(
            id=replay_id, actor=actor_of(request), reason=actions.reason_of(request),
            request_id=actions.request_id(request),
        )  # fmt: skip
    except OperationRefused as refusal:
        if refusal.code == "not_found":
            raise Http404(str(refusal)) from refusal
        return _replay(request, replay_id, refused=_refused(refusal, action), status=_status(refusal))
    flash.success(request, said)
    return redirect("operation", replay_id)


_CHANGES: dict[str, tuple[Any, str]] = {
    "abort": (operations.abort_replay, "Aborted. What was sent already goes on; the rest is left as it is."),
    "resume": (operations.resume_replay, "It goes on where it stopped."),
}


def _refused(refusal: OperationRefused, action: str) -> dict[str, str]:
    if refusal.code == "forbidden":
        raise PermissionDenied(CODENAMES[OPERATE]) from refusal
    return {"action": action, "field": refusal.field, "why": str(refusal)}


def _status(refusal: OperationRefused) -> int:
    return 409 if refusal.code == "conflict" else 422


def _moment(request: HttpRequest, field: str) -> datetime:
    """Return a time of the form, which is in UTC as the page says."""
    try:
        found = parse_datetime(request.POST.get(field, ""))
    except ValueError:
        found = None
    if found is None:
        raise OperationRefused(f"{field} is a date and a time, like 2026-11-24T08:00.", code="invalid", field=field)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _rate(request: HttpRequest) -> float:
    try:
        return float(request.POST.get("rate", ""))
    except ValueError:
        raise OperationRefused("rate is a number of messages per second.", code="invalid", field="rate") from None


urlpatterns = [
    path("operations", page, name="operations"),
    path("operations/start", start, name="operation-start"),
    path("operations/<uuid:replay_id>", replay_page, name="operation"),
    *(
        path(f"operations/<uuid:replay_id>/{action}", change, {"action": action}, name=f"operation-{action}")
        for action in _CHANGES
    ),
]
