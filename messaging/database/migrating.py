"""What migrations of the bus are made of beside Django's own operations."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.migrations.operations.special import RunPython


class RunOnTables(RunPython):
    """RunPython for code that asks no model; its ``apps`` is None.

    For each RunPython Django makes every model of the project anew, which was a third of what migrating took.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if router.allow_migrate(schema_editor.connection.alias, app_label, **self.hints):
            ask_no_model: Any = self.code
            ask_no_model(None, schema_editor)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """What it made goes with its tables."""
