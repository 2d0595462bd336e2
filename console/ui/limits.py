"""Breakers, rate and concurrency on the pages: what holds, and the forms that change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.contrib import messages as flash
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from console.actors import actor_of
from console.ui import context as page_context
from console.ui.access import viewer
from console.ui.actions import reason_of
from console.ui.shared import shared
from messaging import clock, operations
from messaging.errors import OperationRefused
from messaging.operations.limits import Subject
from messaging.queries import limits as reads
from messaging.queries.consumers import ConsumerRow

TRIPS = (
    ("15", "A probe may pass after 15 minutes"),
    ("60", "A probe may pass after 1 hour"),
    ("", "Until somebody resets it"),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One limit in force; ``declared`` is the code's where an operator set another."""

    name: str
    value: str
    declared: str = ""


def limit_facts(row: ConsumerRow) -> dict[str, Any]:
    """Return what the panel of a consumer's limits shows."""
    needed = row.limits.get("depends_on")
    names = needed if isinstance(needed, list) else []
    dependencies = [gate for gate in reads.list_dependencies() if gate.name in names] if names else []
    facts = [
        _fact("Rate", row, "rate_limit", _rate),
        _fact("Concurrency", row, "concurrency", lambda value: f"{value} at once"),
    ]
    return {
        "facts": facts,
        "breaker": breaker_words(row.gate.declared) if row.gate and row.gate.has_breaker else "",
        "dependencies": dependencies,
        "trips": TRIPS,
    }


def _fact(name: str, row: ConsumerRow, key: str, words: Callable[[Any], str]) -> Fact:
    now, declared = row.limits_in_force.get(key), row.limits.get(key)
    value = words(now) if now else "no limit"
    is_other = bool(row.gate and row.gate.override.get(key))
    return Fact(name=name, value=value, declared=(words(declared) if declared else "no limit") if is_other else "")


def _rate(value: Any) -> str:
    burst = f", bursts of {value['burst']}" if value.get("burst") else ""
    return f"{value['count']:g} per {value['per']}{burst}"


def breaker_words(declared: dict[str, Any]) -> str:
    """Say in words when a breaker opens."""
    if not declared:
        return ""
    ways = []
    if declared.get("failures"):
        ways.append(f"{declared['failures']} failures in a row")
    if declared.get("rate"):
        ways.append(
            f"{declared['rate'] * 100:g} % of at least {declared['minimum']} failed within {declared['window']}"
        )
    return f"Opens after {' or '.join(ways)}, for {declared['open_for']}"


@require_GET
@viewer
@shared("dependencies")
def dependencies(request: HttpRequest) -> HttpResponse:
    """Show every dependency, open ones first."""
    rows = reads.list_dependencies()
    lines = [{"row": row, "words": breaker_words(row.declared)} for row in rows]
    context = {"lines": lines, "open": sum(row.breaker != "closed" for row in rows), "trips": TRIPS}
    if request.headers.get("HX-Target") == "dependencies":
        return render(request, "dependencies/table.html", context)
    return render(request, "dependencies/list.html", {**context, "request_id": str(uuid4())})


@require_POST
@viewer  # the operation itself asks for the permission to operate, and audits a denial
def trip(request: HttpRequest, name: str, kind: Subject) -> HttpResponse:
    """Open a breaker by hand."""
    minutes = request.POST.get("minutes", "")
    until = _next_minute(int(minutes)) if minutes in {choice for choice, _ in TRIPS if choice} else None
    return _act(
        request, kind, name, f"The breaker of {name} is open: nothing is claimed.",
        lambda **given: operations.trip_breaker(kind=kind, name=name, until=until, **given),
    )  # fmt: skip


@require_POST
@viewer  # as above
def reset(request: HttpRequest, name: str, kind: Subject) -> HttpResponse:
    """Close a breaker by hand."""
    return _act(
        request, kind, name, f"The breaker of {name} is closed: what waits is claimed again.",
        lambda **given: operations.reset_breaker(kind=kind, name=name, **given),
    )  # fmt: skip


@require_POST
@viewer  # as above
def override(request: HttpRequest, name: str) -> HttpResponse:
    """Put a rate, a concurrency or both in place of the code's."""

    def act(**given: Any) -> None:
        count, per = _number(request, "count", float), request.POST.get("per", "").strip() or "1s"
        burst, concurrency = _number(request, "burst", int), _number(request, "concurrency", int)
        rate = (count, per, int(burst) if burst is not None else None) if count is not None else None
        operations.override_limits(
            name=name, rate=rate, concurrency=int(concurrency) if concurrency is not None else None, **given
        )

    return _act(request, "consumer", name, f"{name} has other limits now; they hold for new claims.", act)


@require_POST
@viewer  # as above
def clear(request: HttpRequest, name: str) -> HttpResponse:
    """Let the limits of the code hold again."""
    return _act(
        request, "consumer", name, f"{name} has the limits of its code again.",
        lambda **given: operations.clear_override(name=name, **given),
    )  # fmt: skip


@require_POST
@viewer  # as above
def drain(request: HttpRequest, name: str) -> HttpResponse:
    """Finish what was relayed by now, then pause."""
    return _act(
        request, "consumer", name, f"{name} drains: it finishes what is there, then pauses by itself.",
        lambda **given: operations.drain_consumer(name=name, **given),
    )  # fmt: skip


def _number(request: HttpRequest, field: str, read: Callable[[str], float]) -> float | None:
    text = request.POST.get(field, "").strip()
    if not text:
        return None
    try:
        return read(text[:20])
    except ValueError as error:
        raise OperationRefused(f"{text[:20]!r} is not a number.", code="invalid", field=field) from error


def _next_minute(minutes: int) -> datetime:
    """Return a whole minute: a form sent twice then asks the same question and gets the same answer."""
    return (clock.now() + timedelta(minutes=minutes + 1)).replace(second=0, microsecond=0)


def _act(request: HttpRequest, kind: Subject, name: str, done: str, act: Callable[..., None]) -> HttpResponse:
    """Call an operation, tell its answer, and go back to the page of its subject."""
    try:
        act(actor=actor_of(request), reason=reason_of(request), request_id=request.POST.get("request_id") or None)
    except OperationRefused as refusal:
        if refusal.code == "forbidden":
            raise PermissionDenied("messaging.operate") from refusal
        flash.error(request, f"{refusal} Nothing was changed.")
    else:
        flash.success(request, done)
    page_context.forget()
    return redirect("consumer", name) if kind == "consumer" else redirect("dependencies")
