"""What came in and could not be published: looked at safely, sent in again, or given up."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from console.actors import actor_of
from console.ui import actions
from console.ui.access import may_operate, operator, viewer
from console.ui.bodies import BYTES_PER_ROW, MOST_ROWS, hex_rows, visible_headers
from console.ui.search import cursor
from console.ui.shared import shared
from messaging import contracts
from messaging.operations import discard_quarantined, retry_quarantined
from messaging.queries import quarantine

PAGE = 50
KINDS = (("", "All kinds"), ("quarantined", "Quarantined"), ("parked", "Parked"), ("conflict", "Conflict"))
STATES = (("open", "Open"), ("accepted", "Accepted"), ("discarded", "Discarded"))


@require_GET
@viewer
@shared("quarantine")
def quarantine_list(request: HttpRequest) -> HttpResponse:
    state, kind = request.GET.get("state", "open"), request.GET.get("kind", "")
    state = state if state in dict(STATES) else "open"
    kind = kind if kind in dict(KINDS) else ""
    page = quarantine.list_quarantined(
        state=state, kind=kind, limit=PAGE, after=cursor(request.GET, "after"), before=cursor(request.GET, "before")
    )
    counts = quarantine.count_open()
    context = {
        "page": page,
        "state": state,
        "kind": kind,
        "states": STATES,
        "kinds": [(name, words, counts.get(name) if name else sum(counts.values())) for name, words in KINDS],
        "may_operate": may_operate(request),
        "request_id": uuid4(),
    }
    is_partial = request.headers.get("HX-Target") == "quarantine"
    return render(request, "quarantine/_list.html" if is_partial else "quarantine/list.html", context)


@require_GET
@viewer
def quarantined(request: HttpRequest, id: UUID) -> HttpResponse:
    found = quarantine.get_quarantined(id)
    if found is None:
        raise Http404("Nothing of this id is in quarantine.")
    shown = contracts.mask_received(found.raw)
    context: dict[str, Any] = {
        "item": found,
        "raw": shown,
        "is_masked": shown != found.raw,
        "rows": tuple(hex_rows(shown)),
        "is_cut": len(found.raw) > BYTES_PER_ROW * MOST_ROWS,
        "shown": min(len(found.raw), BYTES_PER_ROW * MOST_ROWS),
        "is_text": _is_text(shown),
        "headers": visible_headers(found.headers),
        "may_operate": may_operate(request),
        "request_id": uuid4(),
    }
    return render(request, "quarantine/one.html", context)


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in raw


@require_POST
@operator
def act(request: HttpRequest) -> HttpResponse:
    """Retry or discard what was chosen; a message accepted now is published."""
    is_discard = request.POST.get("action") == "discard"
    actions.carry_out(
        request,
        discard_quarantined if is_discard else retry_quarantined,
        ids=actions.ids_of(request),
        done="{} discarded." if is_discard else "{} accepted and published.",
        actor=actor_of(request),
        reason=actions.reason_of(request),
        request_id=actions.request_id(request),
    )
    return actions.back(request, reverse("quarantine"))


urlpatterns = [
    path("quarantine", quarantine_list, name="quarantine"),
    path("quarantine/act", act, name="quarantine-act"),
    path("quarantine/<uuid:id>", quarantined, name="quarantined"),
]
