from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.db.utils import DEFAULT_DB_ALIAS
from django.utils.module_loading import autodiscover_modules


class MessagingConfig(AppConfig):
    """Loads ``events``, ``consumers``, ``sagas`` and ``schedules`` of every app and registers the startup checks."""

    name = "messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from messaging import checks, failpoints  # noqa: F401  registers the checks
        from messaging.database import prepare_connections
        from messaging.sagas import checks as saga_checks  # noqa: F401

        failpoints.arm()
        prepare_connections()
        autodiscover_modules("events", "consumers", "sagas", "schedules")
        post_migrate.connect(_synchronise, sender=self, dispatch_uid="messaging.subscriptions")


def _synchronise(using: str, **_: Any) -> None:
    """A deploy's migrate step writes subscriptions and schedules; the first publish after it already finds them."""
    from messaging.scheduling.synchronising import synchronise_schedules
    from messaging.subscriptions import synchronise

    if using == DEFAULT_DB_ALIAS:
        synchronise(is_deploy=True)
        synchronise_schedules(is_deploy=True)
