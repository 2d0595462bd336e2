"""Faults that operators inject on purpose, where the settings allow it."""

from __future__ import annotations

from django.db import models


class InjectedFault(models.Model):
    """What goes wrong on purpose for one consumer, until a time. A row, so that every worker and relay sees it."""

    consumer = models.CharField(primary_key=True, max_length=200)
    """Its name; ``*`` for every consumer that has no row of its own."""
    failure_rate = models.FloatField(default=0)
    """Share of runs that fail before the handler is called; the rates below are shares as well."""
    redelivery_rate = models.FloatField(default=0)
    """Of runs that are undone after the handler returned, so that it runs again."""
    crash_rate = models.FloatField(default=0)
    """Of runs in which the worker's process is killed."""
    wakeup_loss_rate = models.FloatField(default=0)
    wakeup_repeat_rate = models.FloatField(default=0)
    delay_seconds = models.FloatField(default=0)
    """How long each delivery waits between its claim and its handler."""
    until = models.DateTimeField()
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=200)
    reason = models.TextField()

    class Meta:
        verbose_name = "injected fault"
