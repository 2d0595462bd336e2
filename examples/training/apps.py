from __future__ import annotations

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    """Models trained, validated and published by a controller (R5); see docs/flows/training.md."""

    name = "examples.training"
    default_auto_field = "django.db.models.BigAutoField"
