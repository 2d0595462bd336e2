from __future__ import annotations

from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    """Sensor readings in batches, with alerts (R4); see docs/flows/telemetry.md."""

    name = "examples.telemetry"
    default_auto_field = "django.db.models.BigAutoField"
