"""Consumers: the list, one consumer, pause and resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from console.actors import actor_of
from console.ui import context as page_context
from console.ui import limits
from console.ui.access import operator, viewer
from console.ui.limits import limit_facts
from console.ui.markup.numbers import number, span
from console.ui.shared import shared
from console.ui.traffic_charts import WINDOWS, traffic_charts, window_named
from messaging import clock, operations
from messaging.errors import OperationRefused
from messaging.queries import consumers as reads
from messaging.queries import lanes
from messaging.queries.dead_letters import failure_groups
from messaging.queries.limits import open_breakers

FAILING_SHARE = 0.05
"""From here on a consumer is marked as failing."""
LATE = timedelta(minutes=1)
"""From here on the oldest unhandled delivery is marked as late."""
PAUSES = (("15", "15 minutes"), ("60", "1 hour"), ("", "Until somebody resumes it"))
BLOCKED_SHOWN = 50
"""Blocked keys on a consumer's page; REST lists them all."""
STATUSES = {"conflict": 409, "request_id_reused": 409, "not_found": 404}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A consumer with what the list marks."""

    row: reads.ConsumerRow
    is_failing: bool
    is_late: bool
    held_by: tuple[str, ...] = ()
    """What holds it beside an operator: breaker_open, half_open, behind."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a pause or a resume will mean; rates are taken from the minutes in which the consumer last worked."""

    per_second: float
    drain_seconds: float | None
    after_15_minutes: int
    after_an_hour: int
    at_resume: int | None
    """How many will wait when a pause ends by itself; None without such an end."""


def marked(rows: Sequence[reads.ConsumerRow]) -> list[Line]:
    now = clock.now()
    shut = {(gate.kind, gate.name): gate.breaker for gate in open_breakers()}
    return [
        Line(
            row=row,
            held_by=_held_by(row, shut),
            is_failing=(row.failing_share or 0) >= FAILING_SHARE,
            is_late=row.oldest_at is not None and now - row.oldest_at > LATE,
        )
        for row in rows
    ]


def _held_by(row: reads.ConsumerRow, shut: dict[tuple[str, str], str]) -> tuple[str, ...]:
    needed = row.limits.get("depends_on")
    subjects = [
        ("consumer", row.name),
        *(("dependency", name) for name in (needed if isinstance(needed, list) else ())),
    ]
    standings = {shut[subject] for subject in subjects if subject in shut}
    breaker = ("breaker_open",) if "open" in standings else ("half_open",) if standings else ()
    return (*breaker, *(("behind",) if row.behind_since else ()))


def forecast(row: reads.ConsumerRow) -> Forecast:
    worked = [count for count in row.per_minute if count]
    per_second = row.handled_per_second or (sum(worked[-15:]) / len(worked[-15:]) / 60 if worked else 0.0)
    left = (row.paused_until - clock.now()).total_seconds() if row.paused_at and row.paused_until else None
    return Forecast(
        per_second=per_second,
        drain_seconds=row.backlog / per_second if per_second else None,
        after_15_minutes=round(row.backlog + per_second * 900),
        after_an_hour=round(row.backlog + per_second * 3600),
        at_resume=round(row.backlog + per_second * max(0.0, left)) if left is not None and per_second else None,
    )


@require_GET
@viewer
@shared("consumers")
def list_page(request: HttpRequest) -> HttpResponse:
    """Show every consumer, worst first."""
    lines = marked(reads.list_consumers())
    context = {
        "lines": lines,
        "paused": sum(line.row.status in ("paused", "draining") for line in lines),
        "backlog": sum(line.row.backlog for line in lines),
        "is_whole": True,
    }
    is_partial = request.headers.get("HX-Target") == "consumers"
    return render(request, "consumers/table.html" if is_partial else "consumers/list.html", context)


@require_GET
@viewer
@shared("consumer")
def detail_page(request: HttpRequest, name: str) -> HttpResponse:
    """Show one consumer."""
    return _detail(request, name)


@require_POST
@viewer  # the operation itself asks for the permission to operate, and audits a denial
def pause(request: HttpRequest, name: str) -> HttpResponse:
    """Stop claiming for a consumer, with a reason and an end."""
    minutes = request.POST.get("minutes", "")
    if minutes not in {choice for choice, _ in PAUSES}:
        return _detail(request, name, refused=_refused("pause", "minutes", "Choose one of the times."), status=422)
    until = _end_of_pause(int(minutes)) if minutes else None
    try:
        operations.pause_consumer(
            name=name,
            actor=actor_of(request),
            reason=request.POST.get("reason", "").strip(),
            until=until,
            request_id=request.POST.get("request_id") or None,
        )
    except OperationRefused as refusal:
        return _answer(request, name, "pause", refusal)
    row = reads.get_consumer(name)
    running = row.running if row else 0
    in_flight = f" {number(running)} in flight will finish." if running else ""
    messages.success(request, f"{name} is paused.{in_flight}")
    page_context.forget()
    return redirect("consumer", name)


def _end_of_pause(minutes: int) -> datetime:
    """Return the next whole minute: a form sent twice then asks the same question and gets the same answer."""
    return (clock.now() + timedelta(minutes=minutes + 1)).replace(second=0, microsecond=0)


@require_POST
@viewer  # as above
def resume(request: HttpRequest, name: str) -> HttpResponse:
    """Claim again for a paused consumer."""
    before = reads.get_consumer(name)
    try:
        operations.resume_consumer(
            name=name,
            actor=actor_of(request),
            reason=request.POST.get("reason", "").strip(),
            request_id=request.POST.get("request_id") or None,
        )
    except OperationRefused as refusal:
        return _answer(request, name, "resume", refusal)
    seconds = forecast(before).drain_seconds if before else None
    waiting = f" {number(before.backlog)} wait" if before and before.backlog else ""
    drained = f", drained in about {span(seconds)}" if waiting and seconds and seconds >= 1 else ""
    messages.success(request, f"{name} runs again.{waiting}{drained}{'.' if waiting else ''}")
    page_context.forget()
    return redirect("consumer", name)


@require_http_methods(["GET", "POST"])
@operator
def release_key(request: HttpRequest, name: str) -> HttpResponse:
    """Ask why a key should go on past its dead letter, and let it."""
    key = (request.POST or request.GET).get("key", "")[:200]
    row = reads.get_consumer(name)
    if row is None:
        raise Http404(f"There is no consumer {name!r}.")
    refused = None
    if request.method == "POST":
        try:
            operations.release_key(
                name=name,
                key=key,
                actor=actor_of(request),
                reason=request.POST.get("reason", "").strip(),
                request_id=request.POST.get("request_id") or None,
            )
        except OperationRefused as refusal:
            refused = refusal
        else:
            messages.success(request, f"The key {key} goes on. Its dead letters stay open.")
            page_context.forget()
            return redirect("consumer", name)
    context = {
        "row": row, "key": key, "refused": refused, "typed": request.POST, "request_id": str(uuid4()),
        "blocked": next((each for each in lanes.blocked_keys(name, key=key)), None),
    }  # fmt: skip
    status = STATUSES.get(refused.code, 422) if refused else 200
    return render(request, "consumers/release.html", context, status=status)


def _answer(request: HttpRequest, name: str, action: str, refusal: OperationRefused) -> HttpResponse:
    if refusal.code == "forbidden":
        raise PermissionDenied("messaging.operate")
    refused = _refused(action, refusal.field, str(refusal))
    return _detail(request, name, refused=refused, status=STATUSES.get(refusal.code, 422))


def _refused(action: str, field: str, why: str) -> dict[str, str]:
    return {"action": action, "field": field, "why": why}


def _detail(
    request: HttpRequest, name: str, *, refused: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    row = reads.get_consumer(name)
    if row is None:
        raise Http404(f"There is no consumer {name!r}.")
    window = window_named(request.GET.get("window", ""))
    is_held = row.status in ("paused", "draining")
    asked = (refused or {}).get("action")
    context = {
        "row": row,
        "line": marked([row])[0],
        "is_held": is_held,
        "limits": limit_facts(row),
        "overtaken": asked == ("pause" if is_held else "resume"),
        "forecast": forecast(row),
        "traffic": traffic_charts(window, consumer=name),
        "windows": WINDOWS,
        "blocked": lanes.blocked_keys(name, limit=BLOCKED_SHOWN) if row.blocked_keys else [],
        "filter": [(path, json.dumps(asked, ensure_ascii=False)[1:-1]) for path, asked in (row.filter or {}).items()],
        "groups": [group for group in failure_groups() if group.consumer == name],
        "guarantee": row.guarantee.replace("_", " ").capitalize(),
        "policy": [(key.replace("_", " ").capitalize(), _words(value)) for key, value in row.policy.items()],
        "pauses": PAUSES,
        "refused": refused or {},
        "typed": request.POST,
        "request_id": str(uuid4()),
    }
    is_partial = request.headers.get("HX-Target") == "consumer"
    return render(request, "consumers/consumer.html" if is_partial else "consumers/detail.html", context, status=status)


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


urlpatterns = [
    path("consumers", list_page, name="consumers"),
    path("consumers/<path:name>/pause", pause, name="consumer-pause"),
    path("consumers/<path:name>/resume", resume, name="consumer-resume"),
    path("consumers/<path:name>/drain", limits.drain, name="consumer-drain"),
    path("consumers/<path:name>/limits", limits.override, name="consumer-limits"),
    path("consumers/<path:name>/limits/clear", limits.clear, name="consumer-limits-clear"),
    path("consumers/<path:name>/trip", limits.trip, {"kind": "consumer"}, name="consumer-trip"),
    path("consumers/<path:name>/reset", limits.reset, {"kind": "consumer"}, name="consumer-reset"),
    path("dependencies", limits.dependencies, name="dependencies"),
    path("dependencies/<path:name>/trip", limits.trip, {"kind": "dependency"}, name="dependency-trip"),
    path("dependencies/<path:name>/reset", limits.reset, {"kind": "dependency"}, name="dependency-reset"),
    path("consumers/<path:name>/release-key", release_key, name="consumer-release-key"),
    path("consumers/<path:name>", detail_page, name="consumer"),
]
