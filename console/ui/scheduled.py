"""What waits for its time: scheduled messages, delayed retries, recurring schedules, housekeeping, retention."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib import messages as flash
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from console.actors import actor_of
from console.ui import actions
from console.ui import context as page_context
from console.ui.access import may_operate, operator, viewer
from console.ui.shared import shared
from messaging import operations
from messaging.errors import OperationRefused
from messaging.operations import DeliveryId
from messaging.queries import audit, scheduling, storage, waiting
from messaging.tasks import SCHEDULE

PAGE = 50
TABS = (
    ("messages", "Messages"),
    ("retries", "Retries"),
    ("recurring", "Recurring"),
    ("housekeeping", "Housekeeping"),
    ("storage", "Storage"),
    ("cancelled", "Cancelled"),
)


@require_GET
@viewer
@shared("scheduled")
def page(request: HttpRequest) -> HttpResponse:
    """Show one kind of what waits; each is a tab."""
    tab = request.GET.get("tab", "")
    tab = tab if tab in dict(TABS) else TABS[0][0]
    context = {
        "tab": tab,
        "tabs": TABS,
        "counts": {"messages": scheduling.count_scheduled(), "retries": waiting.count_waiting()},
        "after": request.GET.get("after", ""),
        "may_operate": may_operate(request),
        "request_id": uuid4(),
        **_READS[tab](request),
    }
    is_partial = request.headers.get("HX-Target") == "scheduled"
    return render(request, "scheduled/_list.html" if is_partial else "scheduled/list.html", context)


def _messages(request: HttpRequest) -> dict[str, Any]:
    chosen = request.GET.get("type", "").strip()[:200]
    found = scheduling.list_scheduled(type=chosen, limit=PAGE, after=request.GET.get("after", ""))
    return {"page": found, "chosen": chosen}


def _retries(request: HttpRequest) -> dict[str, Any]:
    chosen = request.GET.get("consumer", "").strip()[:200]
    return {
        "page": waiting.list_waiting(consumer=chosen, limit=PAGE, after=request.GET.get("after", "")),
        "chosen": chosen,
    }


def _recurring(_: HttpRequest) -> dict[str, Any]:
    return {"schedules": scheduling.list_schedules()}


def _housekeeping(_: HttpRequest) -> dict[str, Any]:
    return {"tasks": scheduling.housekeeping(SCHEDULE)}


def _storage(_: HttpRequest) -> dict[str, Any]:
    return {"tables": storage.storage(SCHEDULE)}


def _cancelled(_: HttpRequest) -> dict[str, Any]:
    return {"rows": scheduling.list_cancelled(limit=PAGE)}


_READS = {
    "messages": _messages, "retries": _retries, "recurring": _recurring, "housekeeping": _housekeeping,
    "storage": _storage, "cancelled": _cancelled,
}  # fmt: skip


@require_GET
@viewer
@shared("schedule")
def schedule_page(request: HttpRequest, name: str) -> HttpResponse:
    """Show one recurring schedule."""
    return _schedule(request, name)


def _schedule(
    request: HttpRequest, name: str, *, refused: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    row = scheduling.get_schedule(name)
    if row is None:
        raise Http404(f"There is no schedule {name!r}.")
    context = {
        "row": row,
        "firings": scheduling.last_firings(name),
        "records": audit.list_audit(target=f"schedule:{name}", limit=10).rows,
        "refused": refused or {},
        "typed": request.POST,
        "may_operate": may_operate(request),
        "request_id": uuid4(),
    }
    is_partial = request.headers.get("HX-Target") == "schedule"
    template = "scheduled/_schedule.html" if is_partial else "scheduled/schedule.html"
    return render(request, template, context, status=status)


@require_POST
@operator
def act(request: HttpRequest) -> HttpResponse:
    """Hasten or cancel the messages that were chosen."""
    is_cancel = request.POST.get("action") == "cancel"
    actions.carry_out(
        request,
        operations.cancel_messages if is_cancel else operations.hasten_messages,
        ids=actions.ids_of(request),
        done="{} cancelled." if is_cancel else "{} due now; a relay takes them within a second.",
        actor=actor_of(request),
        reason=actions.reason_of(request),
        request_id=actions.request_id(request),
    )
    return actions.back(request, reverse("scheduled"))


@require_POST
@operator
def act_on_retries(request: HttpRequest) -> HttpResponse:
    """Hasten or cancel the deliveries that were chosen."""
    is_cancel = request.POST.get("action") == "cancel"
    change = operations.cancel_deliveries if is_cancel else operations.hasten_deliveries
    try:
        ids = [DeliveryId.parse(text) for text in request.POST.getlist("ids")[: actions.CAP]]
        result = change(
            ids=ids, actor=actor_of(request), reason=actions.reason_of(request), request_id=actions.request_id(request)
        )
    except ValueError:
        flash.error(request, "What was chosen is no delivery. Nothing was changed.")
    except OperationRefused as refusal:
        flash.error(request, f"{refusal} Nothing was changed.")
    else:
        past = "cancelled: discarded dead letters" if is_cancel else "due now"
        if result.done:
            flash.success(request, f"{len(result.done):,} {past}.")
        if result.refused:
            whys = list(dict.fromkeys(each.why for each in result.refused))
            flash.warning(request, f"{len(result.refused):,} left as they were: {'; '.join(whys[:3])}.")
    page_context.forget()
    return actions.back(request, f"{reverse('scheduled')}?tab=retries")


@require_POST
@viewer  # the operations themselves ask for the permission to operate, and audit a denial
def change_schedule(request: HttpRequest, name: str, action: str) -> HttpResponse:
    """Pause, resume or fire a schedule."""
    given: dict[str, Any] = {
        "name": name,
        "actor": actor_of(request),
        "reason": actions.reason_of(request),
        "request_id": actions.request_id(request),
    }
    try:
        done = _CHANGES[action](given)
    except OperationRefused as refusal:
        if refusal.code == "forbidden":
            raise PermissionDenied("messaging.operate") from refusal
        refused = {"action": action, "field": refusal.field, "why": str(refusal)}
        return _schedule(request, name, refused=refused, status=422 if refusal.code == "invalid" else 409)
    flash.success(request, done)
    page_context.forget()
    return redirect("schedule", name)


def _pause(given: dict[str, Any]) -> str:
    operations.pause_schedule(**given)
    return f"{given['name']} is paused. What is due meanwhile is not made up for."


def _resume(given: dict[str, Any]) -> str:
    operations.resume_schedule(**given)
    return f"{given['name']} is fired again, from its next due time on."


def _fire(given: dict[str, Any]) -> str:
    return f"{given['name']} was fired as message {operations.fire_schedule(**given)}."


_CHANGES = {"pause": _pause, "resume": _resume, "fire": _fire}

urlpatterns = [
    path("scheduled", page, name="scheduled"),
    path("scheduled/act", act, name="scheduled-act"),
    path("scheduled/retries/act", act_on_retries, name="retries-act"),
    *(
        path(f"scheduled/<str:name>/{action}", change_schedule, {"action": action}, name=f"schedule-{action}")
        for action in _CHANGES
    ),
    path("scheduled/<str:name>", schedule_page, name="schedule"),
]
