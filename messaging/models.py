"""The tables. Hot ones hold work and stay small; history is appended and never updated.

Hot: OutboxEntry, Delivery, DeadLetter, Worker, ConsumerState, Subscription, QuarantinedMessage.
History (partitioned by UUIDv7 on PostgreSQL, no foreign key points into it): Message, Attempt, AuditRecord.
The bus writes through ``messaging.database``; these classes serve migrations, queries and the admin.
"""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class Message(models.Model):
    """A fact or a request as it was published: envelope and body. Appended, never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    type = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    kind = models.CharField(max_length=16)
    source = models.CharField(max_length=200)
    tenant = models.CharField(max_length=100, blank=True)
    content_type = models.CharField(max_length=100)
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    key = models.CharField(max_length=200, null=True)
    position = models.BigIntegerField(null=True)
    correlation_id = models.CharField(max_length=200)
    causation_id = models.CharField(max_length=200, null=True)
    traceparent = models.CharField(max_length=55)
    occurred_at = models.DateTimeField()
    published_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["correlation_id"], name="message_correlation"),
            models.Index(fields=["type", "id"], name="message_type"),
        ]
        permissions = [
            ("view_console", "Can see the operations console"),
            ("operate", "Can replay, resubmit, discard, pause and resume"),
            ("reveal", "Can reveal masked payload fields"),
        ]


class OutboxEntry(models.Model):
    """A committed publish that the relay has not fanned out yet. Only an outbox row makes deliveries."""

    id = models.BigAutoField(primary_key=True)
    message_id = models.UUIDField()
    type = models.CharField(max_length=200)
    key = models.CharField(max_length=200, null=True)
    position = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    consumer = models.CharField(max_length=200, null=True)
    """Deliver to this consumer only (a replay, a resubmitted copy, a command); null means all subscribers."""
    run = models.PositiveIntegerField(default=1)
    resolves = models.UUIDField(null=True)
    """The dead letter that is resolved in the transaction in which this delivery is handled."""


class Delivery(models.Model):
    """One message on its way to one consumer in one run; it is the inbox row as well."""

    pk = models.CompositePrimaryKey("message_id", "consumer", "run")
    message_id = models.UUIDField()
    consumer = models.CharField(max_length=200)
    run = models.PositiveIntegerField()
    key = models.CharField(max_length=200, null=True)
    position = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    available_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)
    crashes = models.PositiveIntegerField(default=0)
    is_alone = models.BooleanField(default=False)
    """Run it in a claim of its own: a process died while it held this delivery."""
    claim_token = models.UUIDField(null=True)
    worker = models.UUIDField(null=True)
    claimed_at = models.DateTimeField(null=True)
    resolves = models.UUIDField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["consumer", "available_at", "message_id"],
                condition=models.Q(claim_token=None),
                name="delivery_claimable",
            ),
            models.Index(
                fields=["claim_token"], condition=models.Q(claim_token__isnull=False), name="delivery_claimed"
            ),
        ]


class Attempt(models.Model):
    """One execution of one delivery and how it ended. Appended; the audit of outcomes."""

    class Outcome(models.TextChoices):
        HANDLED = "handled"
        IGNORED = "ignored"  # an exception the policy says to ignore; settled as done
        RETRIED = "retried"  # failed, will run again at next_at
        POSTPONED = "postponed"  # the handler asked for RetryLater
        DEAD_LETTERED = "dead_lettered"
        CRASHED = "crashed"  # the process died while this delivery ran alone
        DROPPED = "dropped"  # at-most-once: failed after it was settled

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    message_id = models.UUIDField()
    consumer = models.CharField(max_length=200)
    run = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    """1 for the first execution of the run, counting failures and crashes before it."""
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    started_at = models.DateTimeField()
    duration_us = models.BigIntegerField()
    worker = models.CharField(max_length=200)
    next_at = models.DateTimeField(null=True)
    error_type = models.CharField(max_length=200, null=True)
    error_message = models.TextField(null=True)
    location = models.CharField(max_length=300, null=True)
    """File, line and function of the innermost frame outside the bus and site-packages."""
    traceback = models.TextField(null=True)
    fingerprint = models.CharField(max_length=16, null=True)

    class Meta:
        indexes = [models.Index(fields=["message_id"], name="attempt_message")]


class DeadLetter(models.Model):
    """A delivery that gave up. It stays open until a person, or a replay that is handled, resolves it."""

    class State(models.TextChoices):
        OPEN = "open"
        REPLAYING = "replaying"  # a new run is on its way
        RESUBMITTING = "resubmitting"  # an edited copy is on its way
        RESOLVED = "resolved"
        DISCARDED = "discarded"

    class Reason(models.TextChoices):
        PERMANENT = "permanent"
        EXHAUSTED = "exhausted"
        CRASH_LOOP = "crash_loop"
        CONTRACT = "contract"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    message_id = models.UUIDField()
    consumer = models.CharField(max_length=200)
    run = models.PositiveIntegerField()
    type = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    key = models.CharField(max_length=200, null=True)
    correlation_id = models.CharField(max_length=200)
    reason = models.CharField(max_length=16, choices=Reason.choices)
    attempts = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=16)
    error_type = models.CharField(max_length=200)
    error_message = models.TextField()
    location = models.CharField(max_length=300)
    traceback = models.TextField()
    dead_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.OPEN)
    resolves = models.UUIDField(null=True)
    """The dead letter that this run was meant to resolve (its earlier run, or the original of the copy)."""
    copy_id = models.UUIDField(null=True)
    """The message published as the edited copy, while resubmitting and after."""
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=200, blank=True)
    resolution = models.CharField(max_length=32, blank=True)
    """replayed, resubmitted, discarded, or failed_again (a later run took its place)."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message_id", "consumer", "run"], name="dead_letter_once"),
        ]
        indexes = [
            models.Index(
                fields=["fingerprint", "-id"],
                condition=~models.Q(state__in=["resolved", "discarded"]),
                name="dead_letter_unresolved",
            ),
            models.Index(fields=["resolved_at"], name="dead_letter_resolved_at"),
        ]


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


class QuarantinedMessage(models.Model):
    """What an ingress received and could not publish: kept raw, visible, retried on demand."""

    class Kind(models.TextChoices):
        PARKED = "parked"  # unknown type or version: a later deploy may know it
        QUARANTINED = "quarantined"  # cannot be decoded, or violates its contract
        CONFLICT = "conflict"  # an id seen before, with another body

    class State(models.TextChoices):
        OPEN = "open"
        ACCEPTED = "accepted"
        DISCARDED = "discarded"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    source = models.CharField(max_length=200)
    reason = models.TextField()
    field = models.CharField(max_length=300, blank=True)
    type = models.CharField(max_length=200, blank=True)
    version = models.PositiveIntegerField(null=True)
    external_id = models.CharField(max_length=200, blank=True)
    content_type = models.CharField(max_length=100)
    raw = models.BinaryField()
    headers = models.JSONField(default=dict)
    body_hash = models.CharField(max_length=64)
    received_at = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.OPEN)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=200, blank=True)
    message_id = models.UUIDField(null=True)
    """The message it became when a retry was accepted."""

    class Meta:
        indexes = [models.Index(fields=["state", "-id"], name="quarantine_state")]


class ReceivedMessage(models.Model):
    """Deduplication of what comes from outside: one row per (source, external id) within the window."""

    pk = models.CompositePrimaryKey("source", "external_id")
    source = models.CharField(max_length=200)
    external_id = models.CharField(max_length=200)
    body_hash = models.CharField(max_length=64)
    message_id = models.UUIDField()
    received_at = models.DateTimeField(db_index=True)


class RequestRecord(models.Model):
    """A request id that was already carried out, with its answer: makes actions idempotent."""

    pk = models.CompositePrimaryKey("actor", "request_id")
    actor = models.CharField(max_length=200)
    request_id = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    """Hash of what was asked; the same id with another question is refused."""
    answer = models.JSONField()
    created_at = models.DateTimeField(db_index=True)


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
    outcome = models.CharField(max_length=16)
    count = models.BigIntegerField()
    duration_us = models.BigIntegerField()
    critical_us = models.BigIntegerField()
    """Sum over the chunk of commit-to-settled times."""
    buckets = models.JSONField(default=dict)
    """Histogram of critical times: upper bound in milliseconds (as text) to count."""


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
