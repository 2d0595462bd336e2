from __future__ import annotations

from django.apps import AppConfig


class CastConfig(AppConfig):
    """Who plays in the simulation: events, consumers of every guarantee, and a table of what they did."""

    name = "tests.simulation.cast"
    label = "cast"
    default_auto_field = "django.db.models.BigAutoField"
