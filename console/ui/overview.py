"""The first page: what is broken now, and whether work flows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.consumers import FAILING_SHARE, marked
from console.ui.markup.numbers import number, span
from console.ui.sample import traffic as sample_traffic
from console.ui.shared import shared
from console.ui.traffic_charts import WINDOWS, traffic_charts, window_named
from messaging import clock
from messaging.queries import overview as reads
from messaging.queries.consumers import ConsumerRow, list_consumers
from messaging.queries.dead_letters import failure_groups
from messaging.queries.limits import open_breakers

GROUPS_SHOWN = 6
CONSUMERS_SHOWN = 10
PROCESSES_SHOWN = 6
LAG_SECONDS = 10
"""From here on the relay is marked as behind."""
MOST_NAMED = 2
BREAKERS_SHOWN = 5
OLD = timedelta(minutes=5)
"""From here on work that no pause holds is called stuck."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that needs a person, in a few words."""

    status: str
    text: str
    href: str


@require_GET
@viewer
@shared("now", "charts", "notices")
def page(request: HttpRequest) -> HttpResponse:
    """Show the whole page, or the one part that htmx reads again."""
    part = request.headers.get("HX-Target", "")
    if part in PARTS:
        return render(request, f"overview/{part}.html", PARTS[part](request))
    context: dict[str, Any] = {}
    for build in PARTS.values():
        context.update(build(request))
    return render(request, "overview/overview.html", context)


def _now(request: HttpRequest) -> dict[str, Any]:
    return {**_head(request), **_broken(request), **_health(request), **_consumers(request)}


def _head(request: HttpRequest) -> dict[str, Any]:
    vitals = reads.vitals()
    return {
        "vitals": vitals,
        "troubles": _troubles(vitals, list_consumers()),
        "windows": WINDOWS,
        "window": window_named(request.GET.get("window", "")),
    }


def _broken(request: HttpRequest) -> dict[str, Any]:
    groups = failure_groups()
    rest = groups[GROUPS_SHOWN:]
    return {
        "groups": groups[:GROUPS_SHOWN],
        "group_count": len(groups),
        "dead_count": sum(group.count for group in groups),
        "more_groups": len(rest),
        "more_dead": sum(group.count for group in rest),
    }


def _health(request: HttpRequest) -> dict[str, Any]:
    vitals = reads.vitals()
    silent = [process for process in reads.workers() if not process.is_alive] if vitals.processes_silent else []
    published = reads.published_per_minute()
    now = clock.now()
    return {
        "vitals": vitals,
        "lag_is_high": LAG_SECONDS,
        "silent": silent[:PROCESSES_SHOWN],
        "silent_count": len(silent),
        "process_count": sum(vitals.processes.values()),
        "roles": sorted(vitals.processes),
        "published": published,
        "published_per_second": sum(published[-6:]) / (300 + now.second + now.microsecond / 1e6),
    }


def _consumers(request: HttpRequest) -> dict[str, Any]:
    rows = [row for row in list_consumers() if row.status != "retired"]
    return {"lines": marked(rows[:CONSUMERS_SHOWN]), "consumer_count": len(rows)}


def _charts(request: HttpRequest) -> dict[str, Any]:
    return {"traffic": traffic_charts(window_named(request.GET.get("window", "")))}


def _notices(request: HttpRequest) -> dict[str, Any]:
    vitals, flows = reads.vitals(), sample_traffic()
    return {
        "quarantined": vitals.quarantined,
        "sample": flows,
        "sample_is_on": any(flow.is_on for flow in flows),
        "breakers": open_breakers()[:BREAKERS_SHOWN] if vitals.open_breakers else [],
        "behind": vitals.behind,
    }


def _troubles(vitals: reads.Vitals, consumers: list[ConsumerRow]) -> list[Trouble]:
    """Name what is wrong now, gravest first: nothing moves, then consumers, then what waits for a decision."""
    found = []
    if not vitals.relays_alive:
        found.append(
            ("dead", f"No relay is alive: {number(vitals.outbox_rows)} messages wait in the outbox", "overview")
        )
    elif vitals.outbox_lag_seconds > LAG_SECONDS:
        found.append(("retrying", f"The relay is {span(int(vitals.outbox_lag_seconds))} behind", "overview"))
    if overdue := vitals.scheduled_overdue:
        text = f"{number(overdue)} scheduled message{'s are' if overdue > 1 else ' is'} overdue"
        found.append(("retrying", text, "scheduled"))
    if idle := vitals.schedules_failing:
        text = f"{number(idle)} recurring schedule{'s do' if idle > 1 else ' does'} not fire"
        found.append(("dead", text, "scheduled"))
    if not vitals.workers_alive:
        found.append(("dead", "No worker is alive: nothing is handled", "overview"))
    elif silent := vitals.workers_known - vitals.workers_alive:
        found.append(("retrying", f"{silent} of {vitals.workers_known} workers silent", "overview"))
    troubles = [Trouble(status=status, text=text, href=reverse(name)) for status, text, name in found]
    running = [row for row in consumers if row.status == "running"]
    failing = [row for row in running if (row.failing_share or 0) >= FAILING_SHARE]
    for row in failing[:MOST_NAMED]:
        text = f"{(row.failing_share or 0) * 100:.1f} % of {row.name} fails"
        troubles.append(Trouble(status="dead", text=text, href=reverse("consumer", args=[row.name])))
    if len(failing) > MOST_NAMED:
        text = f"{len(failing) - MOST_NAMED} more consumers fail"
        troubles.append(Trouble(status="dead", text=text, href=reverse("consumers")))
    behind = sorted(
        (row.oldest_at, row.name) for row in running if row.oldest_at and vitals.as_of - row.oldest_at > OLD
    )
    if behind:
        oldest_at, name = behind[0]
        others = f" and {len(behind) - 1} more are" if len(behind) > 1 else " is"
        up_to = "up to " if len(behind) > 1 else ""
        text = f"{name}{others} {up_to}{span(int((vitals.as_of - oldest_at).total_seconds()))} behind"
        troubles.append(Trouble(status="retrying", text=text, href=reverse("consumer", args=[name])))
    return troubles


PARTS: dict[str, Callable[[HttpRequest], dict[str, Any]]] = {
    "now": _now,
    "charts": _charts,
    "notices": _notices,
}
"""Each swap target with what it reads; its template bears the same name."""

urlpatterns = [path("", page, name="overview")]
