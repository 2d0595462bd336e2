"""What waits for its time: single messages, recurring schedules, and the bus's own housekeeping."""

from __future__ import annotations

from django.db import models


class ScheduledMessage(models.Model):
    """A committed publish that waits for its time; when due, the relay moves it to the outbox.

    Deleting the row decides between firing and cancelling: whoever deletes it does the one or the other.
    """

    message_id = models.UUIDField(primary_key=True)
    type = models.CharField(max_length=200)
    key = models.CharField(max_length=200, null=True)
    due_at = models.DateTimeField()
    created_at = models.DateTimeField()
    consumer = models.CharField(max_length=200, null=True)
    run = models.PositiveIntegerField(default=1)
    resolves = models.UUIDField(null=True)

    class Meta:
        indexes = [models.Index(fields=["due_at", "message_id"], name="scheduled_due")]


class CancelledMessage(models.Model):
    """A scheduled message that was taken back before its time. Terminal; kept as long as the message."""

    message_id = models.UUIDField(primary_key=True)
    due_at = models.DateTimeField()
    cancelled_at = models.DateTimeField()
    cancelled_by = models.CharField(max_length=200)
    reason = models.TextField(blank=True)


class Schedule(models.Model):
    """A recurring message as deployed: when it is due, and whether an operator holds it."""

    class Missed(models.TextChoices):
        ONE = "one"  # fire once for all the due times that passed
        SKIP = "skip"  # fire none of them
        ALL = "all"  # fire each, the newest missed_limit of them

    name = models.CharField(primary_key=True, max_length=200)
    source = models.CharField(max_length=200)
    """The service that declares it; its deploys retire it."""
    type = models.CharField(max_length=200)
    cron = models.CharField(max_length=200, blank=True)
    interval_seconds = models.PositiveBigIntegerField(null=True)
    zone = models.CharField(max_length=64)
    missed = models.CharField(max_length=8, choices=Missed.choices)
    missed_limit = models.PositiveIntegerField()
    description = models.TextField(blank=True)
    declared_in = models.CharField(max_length=300)
    next_at = models.DateTimeField(null=True, db_index=True)
    last_due_at = models.DateTimeField(null=True)
    last_fired_at = models.DateTimeField(null=True)
    last_message_id = models.UUIDField(null=True)
    fired = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    """Due times that passed and were not fired, by policy."""
    failures = models.PositiveIntegerField(default=0)
    """How often in a row its message could not be made."""
    retry_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=200, blank=True)
    pause_reason = models.TextField(blank=True)
    synced_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)


class ScheduleFiring(models.Model):
    """One due time of one schedule that was fired; the key keeps it from firing twice."""

    pk = models.CompositePrimaryKey("schedule", "due_at")
    schedule = models.CharField(max_length=200)
    due_at = models.DateTimeField()
    fired_at = models.DateTimeField(db_index=True)
    message_id = models.UUIDField()
    fired_by = models.CharField(max_length=200, blank=True)
    """Who fired it by hand; empty when its time had come."""


class Housekeeping(models.Model):
    """The last run of one of the scheduler's own tasks."""

    name = models.CharField(primary_key=True, max_length=100)
    started_at = models.DateTimeField()
    duration_us = models.BigIntegerField()
    outcome = models.CharField(max_length=8)
    """done, failed."""
    result = models.TextField(blank=True)
    """What it returned, or its error."""
    process = models.CharField(max_length=200)
    runs = models.PositiveBigIntegerField()
