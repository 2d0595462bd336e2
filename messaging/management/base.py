"""What the commands of the bus have in common."""

from __future__ import annotations

from django.core.management.base import BaseCommand


class BusCommand(BaseCommand):
    """A command that checks what it works with before it begins.

    Not the URLs: no command serves them, and to import every view and schema takes longer than all the rest of a start.
    """

    requires_system_checks = ("messaging", "models", "database", "security", "caches", "compatibility")
