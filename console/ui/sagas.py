"""Sagas: what is under way, what is stuck, and one instance with its path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages as flash
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST

from console.ui import actions
from console.ui.access import actor, viewer
from console.ui.markup.diagram import Node, Way, state_diagram
from console.ui.shared import shared
from messaging import operations
from messaging.errors import OperationRefused
from messaging.queries import sagas as reads
from messaging.sagas.definition import COMPENSATING, Edge

SHOW = (("unfinished", "Unfinished"), ("failed", "Failed"), ("ended", "Ended"), ("all", "All"))


@dataclass(frozen=True, kw_only=True)
class Change:
    name: str
    before: Any
    after: Any


@require_GET
@viewer
@shared("sagas")
def page(request: HttpRequest) -> HttpResponse:
    """List the instances; those in trouble come first."""
    chosen = {name: request.GET.get(name, "").strip() for name in ("saga", "state", "correlation")}
    asked = request.GET.get("show", "")
    show = asked if asked in dict(SHOW) else "all" if chosen["correlation"] else "unfinished"
    after, before = _cursor(request, "after"), _cursor(request, "before")
    is_first = after is None and before is None
    found = reads.list_sagas(
        saga=chosen["saga"],
        state=chosen["state"],
        correlation=chosen["correlation"],
        show=show,
        after=after,
        before=before,
    )
    plain = is_first and show == "unfinished" and not any(chosen.values())
    context = {
        "page": found, "chosen": chosen, "show": show, "shows": SHOW, "is_first": is_first,
        "troubled": reads.troubled_sagas() if plain else (), "names": reads.known_sagas(),
        "is_filtered": any(chosen.values()) or show != "unfinished",
    }  # fmt: skip
    is_partial = request.headers.get("HX-Target") == "sagas"
    return render(request, "sagas/table.html" if is_partial else "sagas/list.html", context)


@require_GET
@viewer
@shared("saga")
def instance(request: HttpRequest, saga: str, correlation: str) -> HttpResponse:
    """Show one instance: its path, what it waits for, and everything that happened."""
    found = reads.saga_detail(saga=saga, correlation=correlation)
    if found is None:
        raise Http404
    data = sorted((name, _shown(value)) for name, value in found.data.items())
    context = {
        "found": found, "row": found.row, "diagram": _diagram(found), "data": data,
        "timeouts": _timeouts(found), "history": [(each, _changes(each), _set(each)) for each in found.history],
        "finals": _finals(found), "default_to": found.definition.default_undoing_to() if found.definition else "",
        "owed": [step for step in found.steps if not step["undone"]], "request_id": uuid4(),
        "base": f"manage.py sagas show {saga} {correlation}",
    }  # fmt: skip
    is_partial = request.headers.get("HX-Target") == "saga"
    return render(request, "sagas/_instance.html" if is_partial else "sagas/instance.html", context)


def _timeouts(found: reads.SagaDetail) -> list[dict[str, Any]]:
    pending = [{"name": name, "due_at": parse_datetime(each["due_at"])} for name, each in found.timeouts.items()]
    return sorted(pending, key=lambda each: str(each["due_at"]))


def _changes(each: reads.TransitionRow) -> list[Change]:
    state = [Change(name="state", before=each.state_before, after=each.state_after)]
    changed = [Change(name=name, before=_shown(pair[0]), after=_shown(pair[1])) for name, pair in each.changes.items()]
    told = [each for each in changed if each.before or each.after]
    return (state if each.state_before != each.state_after else []) + told


def _set(each: reads.TransitionRow) -> list[dict[str, Any]]:
    """Return the timeouts that a move set, fired or cancelled; ``due_at`` is a datetime or None."""
    return [{**one, "due_at": parse_datetime(one["due_at"]) if one.get("due_at") else None} for one in each.timeouts]


def _shown(value: Any) -> str:
    if value in (None, ""):
        return ""
    if isinstance(value, dict) and "__masked__" in value:
        return f"hidden: {value['__masked__']}"
    return str(value)


def _finals(found: reads.SagaDetail) -> list[str]:
    return [name for name, state in found.definition.states.items() if state.is_final] if found.definition else []


def _diagram(found: reads.SagaDetail) -> SafeString | str:
    if found.definition is None:
        return ""
    ways: dict[tuple[str, str], Way] = {}
    edges = list(found.definition.edges())
    for edge in edges:
        way = ways.setdefault((edge.before, edge.after), Way(before=edge.before, after=edge.after))
        is_open = edge.before != COMPENSATING or found.undoing_to in ("", edge.after)
        way.labels += [edge.label] if is_open else []
    been = {found.row.state}
    moves = [each for each in sorted(found.history, key=lambda each: each.number) if each.kind != "ignored"]
    for each in moves:
        been.add(each.state_after)
        key = (each.state_before, each.state_after)
        way = ways.setdefault(key, Way(before=each.state_before, after=each.state_after))
        if not way.steps:
            way.labels = []  # of all that could lead here, say only what did
        way.labels.append(_said(each, [edge for edge in edges if (edge.before, edge.after) == key]))
        way.steps.append(each.number)
    names = {name: state.is_final for name, state in found.definition.states.items()}
    if any(COMPENSATING in key for key in ways):
        names[COMPENSATING] = False
    nodes = [
        Node(name=name, is_final=final, mark="now" if name == found.row.state else "been" if name in been else "")
        for name, final in names.items()
    ]
    return state_diagram(nodes, list(ways.values()), label=f"States of {found.row.saga}; it is {found.row.state}")


def _said(move: reads.TransitionRow, edges: Sequence[Edge]) -> str:
    """Return the words for what moved a saga along these edges."""
    labels = [edge.label for edge in edges if edge.rule == move.rule]
    name = move.message_type.rpartition(".")[2]
    return name if name in labels else labels[0] if labels else move.rule or name


@require_POST
@viewer  # the operation itself asks for the permission to operate, and audits a denial
def act(request: HttpRequest, saga: str, correlation: str, action: str) -> HttpResponse:
    """Carry one action out and tell what came of it."""
    to, timeout = request.POST.get("to", ""), request.POST.get("timeout", "")
    ways: dict[str, tuple[Callable[..., None], dict[str, str], str]] = {
        "retry": (operations.retry_saga, {}, "What had failed runs again."),
        "compensate": (operations.compensate_saga, {"to": to}, "The saga will undo its completed steps."),
        "complete": (operations.complete_saga, {"to": to}, f"The saga will end as {to}."),
        "fire": (operations.fire_saga_timeout, {"timeout": timeout}, f"{timeout} is due now."),
    }
    operation, given, done = ways[action]
    try:
        operation(
            saga=saga, correlation=correlation, actor=actor(request), reason=actions.reason_of(request),
            request_id=actions.request_id(request), **given,
        )  # fmt: skip
    except OperationRefused as refused:
        if refused.code == "forbidden":
            raise PermissionDenied from refused
        flash.error(request, f"{refused} Nothing was changed.")
    else:
        flash.success(request, done)
    return redirect("saga", saga, correlation)


def _cursor(request: HttpRequest, name: str) -> UUID | None:
    try:
        return UUID(request.GET[name])
    except (KeyError, ValueError):
        return None


urlpatterns = [
    path("sagas", page, name="sagas"),
    *(
        path(f"sagas/<str:saga>/<path:correlation>/{action}", act, {"action": action}, name=f"saga-{action}")
        for action in ("retry", "compensate", "complete", "fire")
    ),
    path("sagas/<str:saga>/<path:correlation>", instance, name="saga"),
]
