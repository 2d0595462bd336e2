"""Flows side by side: what each kind costs, and the newest of one kind."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.search import RANGES, cursor
from console.ui.shared import shared
from messaging import clock
from messaging.queries import flow_kinds as reads

PAGE = 25
DEFAULT_RANGE = "1h"
READ_AGAIN = 15
"""Seconds after which the comparison is read again: it reads more than a live page may at every change."""


@require_GET
@viewer
@shared("flow-kinds")
def page(request: HttpRequest) -> HttpResponse:
    """Compare the kinds of flows; with ``type`` list the flows of one."""
    name = request.GET.get("range", DEFAULT_RANGE)
    name = name if name in RANGES else DEFAULT_RANGE
    chosen = request.GET.get("type", "").strip()[:200]
    found = reads.flow_kinds(since=clock.now() - RANGES[name][0])
    longest = max((kind.p95_ms or 0 for kind in found.kinds), default=0) or 1
    context: dict[str, Any] = {
        "found": found,
        "lines": [(kind, (kind.p50_ms or 0) / longest) for kind in found.kinds],
        "range": name,
        "ranges": [(each, words) for each, (_, words) in RANGES.items()],
        "chosen": chosen,
        "seconds": READ_AGAIN,
    }
    if chosen:
        after, before = cursor(request.GET, "after"), cursor(request.GET, "before")
        context["page"] = reads.list_flows(chosen, limit=PAGE, after=after, before=before)
    is_partial = request.headers.get("HX-Target") == "flow-kinds"
    return render(request, "flows/_kinds.html" if is_partial else "flows/list.html", context)


urlpatterns = [path("flows", page, name="flows")]
