"""The switch of the sample traffic. A project without examples has none (settings.SAMPLE_TRAFFIC_SWITCH is empty)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_POST

from console.actors import actor_of
from console.ui import kept
from console.ui.access import CODENAMES, viewer
from messaging.operations import OPERATE
from messaging.operations.access import record_denied, record_switched


@dataclass(frozen=True, kw_only=True)
class SampleTraffic:
    is_on: bool
    orders_per_second: float
    started_at: datetime | None


def traffic() -> SampleTraffic | None:
    """Return how the sample traffic stands; None where there is none to switch."""
    switch = _switch()
    if switch is None:
        return None
    status = switch.status()
    return SampleTraffic(is_on=status.is_on, orders_per_second=status.orders_per_second, started_at=status.started_at)


def is_on() -> bool:
    status = traffic()
    return status is not None and status.is_on


@require_POST
@viewer
def switch_page(request: HttpRequest) -> HttpResponse:
    """Turn the sample traffic on or off."""
    actor, wanted, switch = actor_of(request), request.POST.get("turn", ""), _switch()
    if not actor.may(OPERATE):
        record_denied(actor=actor, action="sample_traffic.switch", target=f"sample_traffic:{wanted}")
        raise PermissionDenied(CODENAMES[OPERATE])
    if switch is None or wanted not in ("on", "off"):
        messages.error(request, "Nothing was changed: turn must be on or off, where there is sample traffic.")
        return redirect("overview")
    with transaction.atomic():
        switch.set_running(wanted == "on", by=actor.name)
        record_switched(actor=actor, action="sample_traffic.switch", target=f"sample_traffic:{wanted}")
    kept.shell.forget()
    words = (
        "Sample traffic is on." if wanted == "on" else "Sample traffic is off. What was published is still delivered."
    )
    messages.success(request, words)
    return redirect("overview")


def _switch() -> Any:
    name: str = getattr(settings, "SAMPLE_TRAFFIC_SWITCH", "")
    return import_module(name) if name else None


urlpatterns = [path("sample-traffic", switch_page, name="sample-traffic")]
