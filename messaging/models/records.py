"""Who did what, and how much of it."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class AuditRecord(models.Model):
    """Who did what, and what came of it; denials too. Appended, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    actor_kind = models.CharField(max_length=16)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=64)
    outcome = models.CharField(max_length=16)
    """done, refused, denied."""
    target = models.CharField(max_length=300)
    """What it was done to: "dead_letter:<id>", "consumer:<name>", "message:<id>"."""
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=200, blank=True)
    details = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["target"], name="audit_target")]


class RollupDelta(models.Model):
    """What one settled chunk adds to a minute; folded into Rollup by a scheduled task."""

    id = models.BigAutoField(primary_key=True)
    minute = models.DateTimeField()
    consumer = models.CharField(max_length=200)
    type = models.CharField(max_length=200, default="", db_default="")
    outcome = models.CharField(max_length=16)
    count = models.BigIntegerField()
    duration_us = models.BigIntegerField()
    critical_us = models.BigIntegerField()
    """Sum over the chunk of commit-to-settled times."""
    buckets = models.JSONField(default=dict)
    """Histograms, upper bound in milliseconds (as text) to count: of critical times plain ("50"), of processing times
    after a p ("p50"), of the time from due to claimed after a w ("w50"); see ``rollups.histogram``."""


class Rollup(models.Model):
    """Outcomes per consumer and minute: what charts and metrics read instead of history."""

    pk = models.CompositePrimaryKey("minute", "consumer", "outcome")
    minute = models.DateTimeField()
    consumer = models.CharField(max_length=200)
    outcome = models.CharField(max_length=16)
    count = models.BigIntegerField()
    duration_us = models.BigIntegerField()
    critical_us = models.BigIntegerField()
    buckets = models.JSONField(default=dict)


class Total(models.Model):
    """Outcomes per consumer since the beginning: monotonic, for Prometheus counters."""

    pk = models.CompositePrimaryKey("consumer", "outcome")
    consumer = models.CharField(max_length=200)
    outcome = models.CharField(max_length=16)
    count = models.BigIntegerField()
    duration_us = models.BigIntegerField()
    critical_us = models.BigIntegerField()
    buckets = models.JSONField(default=dict)


class TypeTotal(models.Model):
    """Outcomes per consumer and type since the beginning; "published" has no consumer."""

    pk = models.CompositePrimaryKey("consumer", "type", "outcome")
    consumer = models.CharField(max_length=200)
    type = models.CharField(max_length=200)
    outcome = models.CharField(max_length=16)
    count = models.BigIntegerField()
