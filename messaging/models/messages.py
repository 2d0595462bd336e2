"""What was published, and what waits for the relay."""

from __future__ import annotations

from django.db import models

from messaging import payloads
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
    consumer = models.CharField(max_length=200, null=True)
    """Published to this consumer only (a reply, a timeout, an edited copy); null means to all subscribers."""
    expires_at = models.DateTimeField(null=True)
    """From then on no consumer handles it for the first time: it is dead-lettered as expired."""
    blob = models.JSONField(null=True)
    """Where the body is when it is too large for the row: name in the storage, sha256 and size in bytes; and what the
    filters that ask about it said, see messaging.filters."""

    class Meta:
        indexes = [
            models.Index(fields=["correlation_id"], name="message_correlation"),
            models.Index(fields=["type", "id"], name="message_type"),
            models.Index(fields=["key", "id"], condition=models.Q(key__isnull=False), name="message_key"),
        ]
        permissions = [
            ("view_console", "Can see the operations console"),
            ("operate", "Can replay, resubmit, discard, pause and resume"),
            ("reveal", "Can reveal masked payload fields"),
        ]

    def content(self) -> bytes:
        """Return the body, from the row or from the storage.

        Raises:
            BodyUnavailable: it is missing from the storage, or not what was published.
        """
        return payloads.content(bytes(self.body), self.blob)


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

    class Meta:
        indexes = [
            # A consumer that runs in order asks whether an earlier message of the key is still here.
            models.Index(fields=["key", "position"], condition=models.Q(position__isnull=False), name="outbox_lane"),
        ]


class KeyCounter(models.Model):
    """The last position taken under a key. Its row stays locked until the producer commits."""

    key = models.CharField(primary_key=True, max_length=200)
    last = models.BigIntegerField()
