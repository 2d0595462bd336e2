"""Turning sample traffic on and off, flow by flow; the console's banner goes by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from examples.sampling.flow import Flow
from examples.sampling.models import SampleSwitch


@dataclass(frozen=True, kw_only=True)
class FlowStatus:
    """How the sample traffic of one flow stands."""

    name: str
    what: str
    seconds_between: float
    is_on: bool
    started_at: datetime | None


def flows() -> list[Flow]:
    """Return the flows of settings.SAMPLE_FLOWS."""
    return [import_string(path) for path in settings.SAMPLE_FLOWS]


def running() -> set[str]:
    """Return the names of the flows whose switch is on."""
    return {each.name for each in status() if each.is_on}


def status() -> list[FlowStatus]:
    """Return how each flow stands, in the order of the setting."""
    switches = SampleSwitch.objects.in_bulk()
    return [_status(flow, switches.get(flow.name)) for flow in flows()]


def set_running(flow: str, on: bool, by: str) -> None:
    """Turn a flow's switch; turning it where it stands changes nothing.

    Raises:
        LookupError: there is no such flow.
    """
    if flow not in {each.name for each in flows()}:
        raise LookupError(f"There is no flow {flow!r}.")
    now = timezone.now()
    values = {"is_on": on, "started_at": now if on else None, "changed_at": now, "changed_by": by}
    if not SampleSwitch.objects.filter(flow=flow, is_on=not on).update(**values):
        SampleSwitch.objects.get_or_create(flow=flow, defaults=values)


def _status(flow: Flow, switch: SampleSwitch | None) -> FlowStatus:
    return FlowStatus(
        name=flow.name,
        what=flow.what,
        seconds_between=flow.seconds_between,
        is_on=switch.is_on if switch else bool(getattr(settings, "SAMPLE_TRAFFIC", False)),
        started_at=switch.started_at if switch else None,
    )
