from __future__ import annotations

from django.apps import AppConfig


class SamplingConfig(AppConfig):
    """Made-up traffic for the reference flows, with a switch for each."""

    name = "examples.sampling"
    default_auto_field = "django.db.models.BigAutoField"
