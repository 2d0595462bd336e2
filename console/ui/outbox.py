"""The outbox: what committed and no relay has looked at yet."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.shared import shared
from messaging.queries import outbox, overview

PAGE = 50


@require_GET
@viewer
@shared("outbox")
def page(request: HttpRequest) -> HttpResponse:
    """Show lag, rows by type, and the rows, the oldest first."""
    after = request.GET.get("after", "")
    cursor = int(after) if after.isdecimal() and len(after) < 19 else None
    context = {
        "state": outbox.outbox_state(),
        "page": outbox.list_outbox(limit=PAGE, after=cursor),
        "relays": [row for row in overview.workers() if row.role == "relay"],
        "published": overview.published_per_minute(),
        "is_first": cursor is None,
        "stuck_after": outbox.STUCK.total_seconds(),
    }
    is_partial = request.headers.get("HX-Target") == "outbox"
    return render(request, "outbox/_outbox.html" if is_partial else "outbox/page.html", context)


urlpatterns = [path("outbox", page, name="outbox")]
