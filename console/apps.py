from __future__ import annotations

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class ConsoleConfig(AppConfig):
    """Makes the groups of the roles after each migration."""

    name = "console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from console import celery, telemetry  # noqa: F401  shared tasks find their app
        from console.live import hints, signing_out
        from console.roles import make_groups

        telemetry.start()
        hints.connect()
        signing_out.connect()
        post_migrate.connect(make_groups, sender=apps.get_app_config("messaging"), dispatch_uid="console.roles")
