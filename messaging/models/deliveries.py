"""Work on its way to consumers, what came of it, and what gave up."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class Delivery(models.Model):
    """One message on its way to one consumer in one run; it is the inbox row as well."""

    pk = models.CompositePrimaryKey("message_id", "consumer", "run")
    message_id = models.UUIDField()
    consumer = models.CharField(max_length=200)
    run = models.PositiveIntegerField()
    key = models.CharField(max_length=200, null=True)
    position = models.BigIntegerField(null=True)
    """Set for an ordered consumer only: after everything unfinished of this key with a lower one."""
    created_at = models.DateTimeField()
    available_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)
    failed_at = models.DateTimeField(null=True)
    """When it last failed: a changed policy counts its delay from here. Null while it waits for another reason."""
    error_type = models.CharField(max_length=300, null=True)
    """Dotted path of what it last failed with."""
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
                condition=models.Q(claim_token=None, position=None),
                name="delivery_unordered",
            ),
            models.Index(
                fields=["consumer", "available_at"],
                condition=models.Q(claim_token=None, position=None, is_alone=True),
                name="delivery_alone",
            ),
            models.Index(
                fields=["consumer", "available_at"],
                condition=models.Q(claim_token=None, position__isnull=False),
                name="delivery_ordered",
            ),
            models.Index(
                fields=["consumer", "key", "position"],
                condition=models.Q(position__isnull=False),
                name="delivery_lane",
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
        FILTERED = "filtered"  # the subscription's filter did not want it: the relay made no delivery

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
        CANCELLED = "cancelled"  # an operator ended its retries

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    message_id = models.UUIDField()
    consumer = models.CharField(max_length=200)
    run = models.PositiveIntegerField()
    type = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    key = models.CharField(max_length=200, null=True)
    position = models.BigIntegerField(null=True)
    blocks = models.BooleanField(db_default=False)
    """While unresolved, what follows it with the same key waits; an operator may release the key."""
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
            models.Index(
                fields=["correlation_id"],
                condition=~models.Q(state__in=["resolved", "discarded"]),
                name="dead_letter_flow",
            ),
            models.Index(
                fields=["consumer", "key", "position"], condition=models.Q(blocks=True), name="dead_letter_blocks"
            ),
        ]
