"""Replays of history: a range of stored messages, run again for one consumer."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class HistoryReplay(models.Model):
    """A range of stored messages to one consumer: its frozen filter, how far it is, and what came of it."""

    class Mode(models.TextChoices):
        SHADOW = "shadow"  # each run is rolled back; what it would have changed is reported
        REAL = "real"  # new runs through the outbox

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        ABORTED = "aborted"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    consumer = models.CharField(max_length=200)
    mode = models.CharField(max_length=8, choices=Mode.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    types = models.JSONField()
    from_at = models.DateTimeField()
    to_at = models.DateTimeField()
    only_missing = models.BooleanField(default=False)
    """Leave out what the consumer has had in any way: the backfill of a new consumer."""
    rate = models.FloatField()
    """At most so many messages per second."""
    cursor = models.UUIDField(null=True)
    """The last message that was looked at; the next one is the next by id."""
    total = models.PositiveBigIntegerField()
    looked_at = models.PositiveBigIntegerField(default=0)
    done = models.PositiveBigIntegerField(default=0)
    """Run in shadow, or sent on their way."""
    left_out = models.JSONField(default=dict)
    """Messages that were not run, by reason."""
    report = models.JSONField(default=dict)
    """What shadow runs found; see messaging.replays.report."""
    next_at = models.DateTimeField()
    token = models.UUIDField(null=True)
    """Of the process that runs a chunk in shadow; another one takes over when ``leased_until`` has passed."""
    leased_until = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    started_at = models.DateTimeField()
    started_by = models.CharField(max_length=200)
    reason = models.TextField()
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [models.Index(fields=["next_at"], condition=models.Q(state="running"), name="replay_running")]
