"""Who receives what, and which processes live."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class ConsumerState(models.Model):
    """A consumer as deployed, and whether an operator holds it."""

    name = models.CharField(primary_key=True, max_length=200)
    queue = models.CharField(max_length=200)
    guarantee = models.CharField(max_length=16)
    description = models.TextField(blank=True)
    handler = models.CharField(max_length=300)
    policy = models.JSONField(default=dict)
    synced_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=200, blank=True)
    pause_reason = models.TextField(blank=True)
    paused_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "consumer"


class Subscription(models.Model):
    """Consumer X wants contract Y from a starting position on. A row, so that an old relay serves it too."""

    pk = models.CompositePrimaryKey("type", "consumer")
    type = models.CharField(max_length=200)
    consumer = models.CharField(max_length=200)
    starts_at = models.DateTimeField()
    """Outbox entries created before it make no delivery."""

    class Meta:
        indexes = [models.Index(fields=["consumer"], name="subscription_consumer")]


class Worker(models.Model):
    """A live process of the bus: worker, relay, scheduler or web. One heartbeat row each."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    role = models.CharField(max_length=16)
    name = models.CharField(max_length=200)
    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    release = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    is_idle = models.BooleanField(default=False)
    """Of a relay: it waits for a hint, so a publish should send one."""
