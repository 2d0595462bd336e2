"""The switches of the sample traffic, one per flow.

A project without examples has none: settings.SAMPLE_TRAFFIC_SWITCH is empty.
"""

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
from console.permissions import CODENAMES
from console.ui import kept
from console.ui.access import viewer
from messaging.operations import OPERATE
from messaging.operations.access import record_denied, record_switched
from messaging.queries.shared import once


@dataclass(frozen=True, kw_only=True)
class SampleFlow:
    name: str
    what: str
    """What it makes, in the plural."""
    seconds_between: float
    is_on: bool
    started_at: datetime | None

    @property
    def rate(self) -> str:
        """How often it makes one, in words."""
        if self.seconds_between < 1:
            return f"{1 / self.seconds_between:.3g} a second"
        return "one a second" if self.seconds_between == 1 else f"one every {self.seconds_between:.3g} s"


@once
def traffic() -> list[SampleFlow]:
    """Return how the sample traffic of each flow stands; empty where there is none to switch."""
    switch = _switch()
    if switch is None:
        return []
    return [
        SampleFlow(
            name=flow.name, what=flow.what, seconds_between=flow.seconds_between, is_on=flow.is_on,
            started_at=flow.started_at,
        )
        for flow in switch.status()
    ]  # fmt: skip


def is_on() -> bool:
    return any(flow.is_on for flow in traffic())


@require_POST
@viewer
def switch_page(request: HttpRequest) -> HttpResponse:
    """Turn the sample traffic of a flow, or of all of them, on or off."""
    actor, wanted, flow = actor_of(request), request.POST.get("turn", ""), request.POST.get("flow", "")
    target = f"sample_traffic:{flow}:{wanted}" if flow else f"sample_traffic:{wanted}"
    if not actor.may(OPERATE):
        record_denied(actor=actor, action="sample_traffic.switch", target=target)
        raise PermissionDenied(CODENAMES[OPERATE])
    chosen = [each for each in traffic() if flow in ("", each.name)]
    if not chosen or wanted not in ("on", "off"):
        messages.error(request, "Nothing was changed: turn must be on or off, and flow one that has sample traffic.")
        return redirect("overview")
    with transaction.atomic():
        for each in chosen:
            _switch().set_running(each.name, wanted == "on", by=actor.name)
        record_switched(actor=actor, action="sample_traffic.switch", target=target)
    kept.shell.forget()
    subject = f"Sample traffic of {chosen[0].what}" if flow else "Sample traffic"
    after = "" if wanted == "on" else " What was published is still delivered."
    messages.success(request, f"{subject} is {wanted}.{after}")
    return redirect("overview")


def _switch() -> Any:
    name: str = getattr(settings, "SAMPLE_TRAFFIC_SWITCH", "")
    return import_module(name) if name else None


urlpatterns = [path("sample-traffic", switch_page, name="sample-traffic")]
