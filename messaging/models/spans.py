"""What was traced: spans of this bus and of other services, bounded by age and number."""

from __future__ import annotations

from django.db import models

from messaging.ids import new_id


class Span(models.Model):
    """One span as it ended. Written in batches off the hot path; pruned, never updated.

    Times are whole microseconds since 1970 and of its length, so that both databases reckon with them alike.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    """By arrival, so that the oldest leave in order."""
    trace_id = models.CharField(max_length=32)
    span_id = models.CharField(max_length=16)
    parent_id = models.CharField(max_length=16, blank=True)
    name = models.CharField(max_length=300)
    kind = models.CharField(max_length=8)
    """internal, server, client, producer, consumer."""
    service = models.CharField(max_length=200)
    scope = models.CharField(max_length=200, blank=True)
    """The instrumentation that made it."""
    started_us = models.BigIntegerField()
    duration_us = models.BigIntegerField()
    status = models.CharField(max_length=5)
    """unset, ok, error."""
    status_message = models.TextField(blank=True)
    message_id = models.UUIDField(null=True)
    consumer = models.CharField(max_length=200, blank=True)
    type = models.CharField(max_length=200, blank=True)
    """Type of the message it concerns."""
    correlation_id = models.CharField(max_length=200, blank=True)
    attributes = models.JSONField(default=dict)
    events = models.JSONField(default=list)
    links = models.JSONField(default=list)

    class Meta:
        indexes = [models.Index(fields=["trace_id"], name="span_trace")]


class Trace(models.Model):
    """What a list of traces shows of one: kept up with each batch of its spans, so that no list adds spans up."""

    trace_id = models.CharField(max_length=32, primary_key=True)
    sort_id = models.UUIDField()
    """From its first span's arrival: the key of pages."""
    started_us = models.BigIntegerField()
    ended_us = models.BigIntegerField()
    root_us = models.BigIntegerField()
    """Start of the span whose name and service stand for the trace: one without a parent, else the earliest."""
    name = models.CharField(max_length=300)
    service = models.CharField(max_length=200)
    correlation_id = models.CharField(max_length=200, blank=True)
    spans = models.IntegerField()
    errors = models.IntegerField()
    is_inner = models.BooleanField()
    """Only of reads, or of the bus's own machinery: relayed and claimed batches."""

    class Meta:
        indexes = [
            models.Index(fields=["sort_id"], name="trace_sort"),
            models.Index(fields=["correlation_id"], condition=~models.Q(correlation_id=""), name="trace_correlation"),
        ]
