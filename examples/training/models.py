from __future__ import annotations

from django.db import models


class TrainingRun(models.Model):
    """One training from the request to its end, as its controller sees it."""

    class State(models.TextChoices):
        TRAINING = "training"
        VALIDATING = "validating"
        PUBLISHING = "publishing"
        PUBLISHED = "published"
        REJECTED = "rejected"
        TIMED_OUT = "timed_out"

    id = models.UUIDField(primary_key=True)
    dataset = models.CharField(max_length=40)
    strength = models.FloatField()
    seed = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.TRAINING)
    source = models.CharField(max_length=50, blank=True)
    accuracy = models.FloatField(null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)


class Artefact(models.Model):
    """A trained model as its numbers. No pickle: reading one runs whatever it contains."""

    run_id = models.UUIDField(primary_key=True)
    weights = models.JSONField()
    metadata = models.JSONField()
    """How it came about: library and version, parameters, examples, iterations."""
    trained_at = models.DateTimeField()


class ModelVersion(models.Model):
    """A published model: what may be served."""

    id = models.BigAutoField(primary_key=True)
    run_id = models.UUIDField(unique=True)
    dataset = models.CharField(max_length=40)
    number = models.PositiveIntegerField()
    metadata = models.JSONField()
    published_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="model_version_once")]
