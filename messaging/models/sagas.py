"""Sagas: their instances, which are hot until they end, and their history, which is appended."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class SagaInstance(models.Model):
    """One saga of one correlation. Its row stays after the end, so that what comes late finds it ended."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    saga = models.CharField(max_length=200)
    """The saga's name, which is also its consumer's."""
    correlation = models.CharField(max_length=200)
    flow = models.CharField(max_length=200)
    """Correlation id of the message that started it."""
    state = models.CharField(max_length=100)
    version = models.PositiveIntegerField()
    """Counts saves; the guard of each."""
    data = models.TextField()
    steps = models.JSONField(default=list)
    """Completed steps in order, each with the number of its transition and of its undoing."""
    answers = models.JSONField(default=list)
    """Contracts seen so far that a composite condition waits for."""
    timeouts = models.JSONField(default=dict)
    """Pending timeouts by name: the scheduled message and when it is due."""
    undoing_to = models.CharField(max_length=100, blank=True)
    """While it compensates: the state in which that ends."""
    started_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["saga", "correlation"], name="saga_once")]
        indexes = [
            models.Index(fields=["saga", "state"], condition=models.Q(ended_at=None), name="saga_unfinished"),
            models.Index(fields=["flow"], name="saga_flow"),
            models.Index(fields=["ended_at"], name="saga_ended"),
        ]


class SagaTransition(models.Model):
    """One thing that happened to an instance. Appended."""

    class Kind(models.TextChoices):
        MESSAGE = "message"
        COMPOSITE = "composite"  # a condition over several messages was met
        TIMEOUT = "timeout"
        UNDO = "undo"  # one step was compensated, or its compensation was sent
        OPERATOR = "operator"
        IGNORED = "ignored"  # came late or in another state; nothing changed

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    instance = models.UUIDField()
    saga = models.CharField(max_length=200)
    correlation = models.CharField(max_length=200)
    number = models.PositiveIntegerField()
    """The instance's version after it; of an ignored message the version that it met."""
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    rule = models.CharField(max_length=100)
    """Name of the method that ran."""
    message_id = models.UUIDField()
    message_type = models.CharField(max_length=200)
    state_before = models.CharField(max_length=100, blank=True)
    state_after = models.CharField(max_length=100)
    changes = models.JSONField(default=dict)
    """Field of the data to [before, after]."""
    messages_out = models.JSONField(default=list)
    timeouts = models.JSONField(default=list)
    """Timeouts requested and cancelled."""
    completed = models.CharField(max_length=100, blank=True)
    undone = models.CharField(max_length=100, blank=True)
    actor = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["instance", "number"], name="saga_history")]
