from __future__ import annotations

from django.apps import AppConfig


class JourneyConfig(AppConfig):
    """Trips are booked; each kind of trip goes another way through the bus and leaves traces."""

    name = "tests.sweep.journey"
    label = "journey"
    default_auto_field = "django.db.models.BigAutoField"
