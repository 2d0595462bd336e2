from __future__ import annotations

from django.db import models


class Sensor(models.Model):
    """What a sensor said lately: what a new reading is compared with."""

    id = models.CharField(primary_key=True, max_length=30)
    recent = models.JSONField(default=list)


class LatestReading(models.Model):
    """The live view. It may miss a reading, as the next one comes in a second."""

    sensor = models.CharField(primary_key=True, max_length=30)
    value = models.FloatField()
    unit = models.CharField(max_length=10)
    measured_at = models.DateTimeField()


class Anomaly(models.Model):
    """A reading that was found to be out of line, once."""

    reading_id = models.UUIDField(primary_key=True)
    sensor = models.CharField(max_length=30)
    value = models.FloatField()
    score = models.FloatField()
    detected_at = models.DateTimeField()


class Alert(models.Model):
    """What the engineer on call got; the row is the call. No unique key: only the bus keeps it single."""

    id = models.BigAutoField(primary_key=True)
    reading_id = models.UUIDField(db_index=True)
    text = models.CharField(max_length=300)
    raised_at = models.DateTimeField()


class ArchivedBatch(models.Model):
    """Readings as gzipped JSON lines."""

    id = models.UUIDField(primary_key=True)
    readings = models.PositiveIntegerField()
    lines = models.BinaryField()
    archived_at = models.DateTimeField()
