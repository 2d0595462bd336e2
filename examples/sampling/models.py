"""The switches of the sample traffic: rows, so that every process sees them."""

from __future__ import annotations

from django.db import models


class SampleSwitch(models.Model):
    """One row per flow once somebody used its switch; before, the settings decide."""

    flow = models.CharField(primary_key=True, max_length=40)
    is_on = models.BooleanField()
    started_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=200)
