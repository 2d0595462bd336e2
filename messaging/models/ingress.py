"""What came from outside: set aside, deduplicated, answered."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


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
