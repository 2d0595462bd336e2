"""Attempts and audit records are appended: triggers refuse every UPDATE, and every DELETE of a row.

Retention drops whole partitions on PostgreSQL; on SQLite it raises ``signalbox_retention()`` for its own
connection. A connection that does not know that function (the sqlite3 shell) is refused as well.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

from messaging.database.migrating import RunOnTables

TABLES = ("messaging_attempt", "messaging_auditrecord")
_FUNCTION = """
CREATE OR REPLACE FUNCTION messaging_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%% is append-only: %% refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$
"""


def forbid_changes(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_FUNCTION, [])  # with parameters, so that %% is %
        for table in TABLES:
            schema_editor.execute(
                f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION messaging_append_only()"
            )
        return
    for table in TABLES:
        schema_editor.execute(
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: UPDATE refused'); END"
        )
        schema_editor.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT signalbox_retention()"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: DELETE refused'); END"
        )


def create_first_partitions(apps: Any, schema_editor: Any) -> None:
    from messaging.database.partitions import ensure_partitions

    ensure_partitions()


class Migration(migrations.Migration):
    dependencies = [("messaging", "0001_initial")]

    operations = [
        RunOnTables(forbid_changes, RunOnTables.noop),
        RunOnTables(create_first_partitions, RunOnTables.noop),
    ]
