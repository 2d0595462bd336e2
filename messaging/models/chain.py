"""The chain over history: what waits to be sealed, the seals, the last of them, and what was said about it outside."""

from __future__ import annotations

from django.db import models


class UnsealedRecords(models.Model):
    """Records appended by one transaction that no seal covers yet. Written with them, so none is forgotten."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16)
    """"attempt", "audit" or "saga"."""
    ids = models.BinaryField()
    """Their ids, 16 bytes each."""


class Seal(models.Model):
    """A batch of records of one kind and one day, hashed together with the seal before. Appended, never changed.

    Each kind has a chain of its own, so that each can have a retention of its own.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16)
    number = models.BigIntegerField()
    """From 1, without a gap, in the chain of its kind."""
    day = models.DateField()
    """Of the records, by the time in their ids: they leave with that day's partition."""
    count = models.PositiveIntegerField()
    entries = models.BinaryField()
    """For each record its id (16 bytes) and the first 8 bytes of its SHA-256, in order of the ids."""
    content_hash = models.CharField(max_length=64)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    sealed_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "number"], name="seal_number")]
        indexes = [models.Index(fields=["kind", "day"], name="seal_day")]


class ChainHead(models.Model):
    """The newest seal of each kind: locked by whoever seals, and the witness that no later seal was cut off."""

    kind = models.CharField(primary_key=True, max_length=16)
    number = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)


class ChainAnchor(models.Model):
    """A seal whose hash was noted: before the seals up to it were pruned, or because it was exported."""

    class Purpose(models.TextChoices):
        RETENTION = "retention"
        EXPORT = "export"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16)
    number = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    pruned_before = models.DateField(null=True)
    """Of retention: records of earlier days are gone."""
    at = models.DateTimeField()


class ChainCheck(models.Model):
    """One verification of the chain and what it found."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    by = models.CharField(max_length=200)
    seals = models.BigIntegerField()
    records = models.BigIntegerField()
    unsealed = models.BigIntegerField()
    problems = models.JSONField(default=list)
    """The first of them, in words; empty when the chain holds."""
    duration_ms = models.PositiveIntegerField()
