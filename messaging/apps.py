from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MessagingConfig(AppConfig):
    """Loads every app's ``events`` and ``consumers`` modules and registers the startup checks."""

    name = "messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from messaging import checks  # noqa: F401  registers the checks
        from messaging.database import prepare_connections

        prepare_connections()
        autodiscover_modules("events", "consumers")
