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
    """The retry policy as deployed: what waits was placed by it."""
    is_ordered = models.BooleanField(db_default=False)
    on_failure = models.CharField(max_length=8, blank=True, db_default="")
    """Of an ordered consumer: "block" or "skip" what follows a dead letter with the same key."""
    filter = models.JSONField(null=True)
    batch_size = models.PositiveIntegerField(null=True)
    batch_seconds = models.FloatField(null=True)
    """Of a batch consumer: it is called with so many messages, or with what there is when the oldest waited so long."""
    synced_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=200, blank=True)
    pause_reason = models.TextField(blank=True)
    paused_until = models.DateTimeField(null=True)
    drain_at = models.DateTimeField(null=True)
    """What was relayed later is not claimed; ``paused_by`` and ``pause_reason`` say who drains it and why."""
    limits = models.JSONField(default=dict)
    """Breaker, rate, concurrency and dependencies as declared, for those who look."""
    backlog_limit = models.PositiveIntegerField(null=True)
    behind_since = models.DateTimeField(null=True)
    """Since then the backlog has been above ``backlog_limit``: ingresses refuse what would add to it."""

    class Meta:
        verbose_name = "consumer"


class Gate(models.Model):
    """What all workers share of the limits of one consumer or one dependency; locked before each claim it guards."""

    class Kind(models.TextChoices):
        CONSUMER = "consumer"
        DEPENDENCY = "dependency"

    id = models.CharField(primary_key=True, max_length=220)
    """Kind and name: "consumer:billing.charge_card", "dependency:card-provider"."""
    kind = models.CharField(max_length=16, choices=Kind.choices)
    name = models.CharField(max_length=200)
    declared = models.JSONField(default=dict)
    """The breaker as declared, for those who look; empty without one."""
    opened_at = models.DateTimeField(null=True)
    """The breaker is open since then; null while it is closed."""
    open_until = models.DateTimeField(null=True)
    """From then on one probe may pass; null with ``opened_at`` means until somebody resets it."""
    opened_by = models.CharField(max_length=200, blank=True)
    """The operator who tripped it; empty when failures did."""
    open_reason = models.TextField(blank=True)
    probe_token = models.UUIDField(null=True)
    """The claim that carries the one probe."""
    probe_worker = models.UUIDField(null=True)
    probe_at = models.DateTimeField(null=True)
    run = models.PositiveIntegerField(default=0)
    """Failures since the last success."""
    calls = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    half_at = models.DateTimeField(null=True)
    """Start of the half window that ``calls`` and ``failed`` count."""
    earlier_calls = models.PositiveIntegerField(default=0)
    earlier_failed = models.PositiveIntegerField(default=0)
    tokens = models.FloatField(null=True)
    """In the bucket at ``tokens_at``; null: full."""
    tokens_at = models.DateTimeField(null=True)
    override = models.JSONField(default=dict)
    """What an operator set in place of the code's: rate, per, burst, concurrency."""
    overridden_by = models.CharField(max_length=200, blank=True)
    override_reason = models.TextField(blank=True)
    overridden_at = models.DateTimeField(null=True)
    times_opened = models.PositiveBigIntegerField(default=0)
    held_by_breaker = models.PositiveBigIntegerField(default=0)
    held_by_rate = models.PositiveBigIntegerField(default=0)
    held_by_concurrency = models.PositiveBigIntegerField(default=0)
    """How often a worker that came for work was sent away by each limit."""


class Subscription(models.Model):
    """Consumer X wants contract Y from a starting position on. A row, so that an old relay serves it too."""

    pk = models.CompositePrimaryKey("type", "consumer")
    type = models.CharField(max_length=200)
    consumer = models.CharField(max_length=200)
    starts_at = models.DateTimeField()
    """Outbox entries created before it make no delivery."""
    is_ordered = models.BooleanField(db_default=False)
    """Deliveries keep their position: they run one after another for each key."""
    filter = models.JSONField(null=True)
    """What the relay asks before it makes a delivery; null wants everything. See messaging.filters."""

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
