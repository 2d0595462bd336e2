"""The switch of the sample traffic: a row, so that every process sees it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class SampleSwitch(models.Model):
    """One row once somebody used the switch; before, the settings decide."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    is_on = models.BooleanField()
    started_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=200)

    class Meta:
        app_label = "ecommerce"


def read() -> SampleSwitch:
    """Return the switch as it stands now."""
    is_on = bool(getattr(settings, "SAMPLE_TRAFFIC", False))
    unused = SampleSwitch(is_on=is_on, started_at=None, changed_at=timezone.now(), changed_by="")
    return SampleSwitch.objects.filter(id=1).first() or unused


def turn(on: bool, *, by: str) -> None:
    """Turn the switch; turning it where it stands changes nothing."""
    now = timezone.now()
    values = {"is_on": on, "started_at": now if on else None, "changed_at": now, "changed_by": by}
    if not SampleSwitch.objects.filter(id=1, is_on=not on).update(**values):
        SampleSwitch.objects.get_or_create(id=1, defaults=values)
