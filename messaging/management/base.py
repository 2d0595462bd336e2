"""What the commands of the bus have in common."""

from __future__ import annotations

from django.core.checks import Tags
from django.core.checks.registry import registry
from django.core.management.base import BaseCommand

OF_PAGES = {Tags.urls, Tags.templates, Tags.admin, Tags.staticfiles}


class BusCommand(BaseCommand):
    """A command that checks all that it works with before it begins, an application's own checks included.

    Not what only pages need: to import every view and schema takes longer than all the rest of a start.
    """

    @property
    def requires_system_checks(self) -> list[str]:  # type: ignore[override]
        return sorted(registry.tags_available() - OF_PAGES)
