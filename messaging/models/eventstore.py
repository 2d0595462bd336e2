"""Streams of stored events, and what is derived from them: snapshots, projections and their checkpoints."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class EventStream(models.Model):
    """The head of a stream: its version. The row stays locked until the transaction that appended ends."""

    name = models.CharField(primary_key=True, max_length=200)
    category = models.CharField(max_length=100)
    version = models.PositiveBigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["category", "name"], name="event_stream_category")]


class StoredEvent(models.Model):
    """One event of a stream, as it was published. Appended, never changed, never pruned."""

    pk = models.CompositePrimaryKey("stream", "version")
    stream = models.CharField(max_length=200)
    version = models.PositiveBigIntegerField()
    """1 for the first event of the stream, without gaps."""
    message_id = models.UUIDField(unique=True)
    type = models.CharField(max_length=200)
    type_version = models.PositiveIntegerField()
    body = models.BinaryField()
    correlation_id = models.CharField(max_length=200)
    causation_id = models.CharField(max_length=200, null=True)
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField()


class StreamSnapshot(models.Model):
    """The state of an aggregate at a version, so that loading it reads only what came after. Losable."""

    stream = models.CharField(primary_key=True, max_length=200)
    version = models.PositiveBigIntegerField()
    schema = models.PositiveIntegerField()
    """Of the aggregate's state; a snapshot of another schema is not used."""
    state = models.JSONField()
    taken_at = models.DateTimeField()


class ProjectionBuild(models.Model):
    """One generation of a projection: built from history beside the live one, then live in its place."""

    class State(models.TextChoices):
        BUILDING = "building"
        LIVE = "live"
        RETIRED = "retired"  # its rows are forgotten after a while

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    projection = models.CharField(max_length=200)
    generation = models.PositiveIntegerField()
    code_version = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State.choices)
    cursor = models.CharField(max_length=200, blank=True)
    """The last stream of history that was read; the next one is the next by name."""
    streams = models.PositiveBigIntegerField(default=0)
    events = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField()
    live_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["projection", "generation"], name="projection_generation"),
            models.UniqueConstraint(
                fields=["projection", "state"], condition=~models.Q(state="retired"), name="projection_one_each"
            ),
        ]


class ProjectionCheckpoint(models.Model):
    """How far one generation of a projection has read one stream. Locked while it reads on."""

    pk = models.CompositePrimaryKey("projection", "generation", "stream")
    projection = models.CharField(max_length=200)
    generation = models.PositiveIntegerField()
    stream = models.CharField(max_length=200)
    version = models.PositiveBigIntegerField(default=0)
