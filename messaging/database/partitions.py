"""Range partitions of the history tables on PostgreSQL, one a day, cut by the time inside the UUIDv7 key.

On SQLite the same models are ordinary tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.migrations.operations.models import CreateModel

from messaging import failpoints
from messaging.ids import id_at

HISTORY = ("messaging_message", "messaging_attempt", "messaging_auditrecord", "messaging_sagatransition")
DAYS_AHEAD = 7
_LOCK = 0x5349474E  # advisory lock: two schedulers must not create the same partition at once


class CreatePartitionedModel(CreateModel):
    """CreateModel, as ``PARTITION BY RANGE (id)`` on PostgreSQL, with a default partition that refuses nothing."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.name)
        sql, parameters = schema_editor.table_sql(model)
        schema_editor.execute(f"{sql} PARTITION BY RANGE (id)", parameters)
        table = model._meta.db_table
        schema_editor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        for index_sql in schema_editor._model_indexes_sql(model):  # noqa: SLF001  what create_model itself calls
            schema_editor.execute(index_sql)


def ensure_partitions(*, today: datetime | None = None, days_ahead: int = DAYS_AHEAD) -> int:
    """Create the partitions from today to ``days_ahead`` days on; return how many were new.

    A row is never refused: what no partition covers goes to the default one.
    """
    if connection.vendor != "postgresql":
        return 0
    start = (today or datetime.now(UTC)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    created = 0
    with failpoints.atomic("partitions"), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        for table in HISTORY:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
            if not cursor.fetchone()[0]:
                continue  # a migration before the table's own
            for day in (start + timedelta(days=n) for n in range(days_ahead + 1)):
                created += _create_partition(cursor, table, day)
    return created


def _create_partition(cursor: Any, table: str, day: datetime) -> int:
    name = f"{table}_{day:%Y%m%d}"
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    if cursor.fetchone()[0]:
        return 0
    low, high = id_at(day), id_at(day + timedelta(days=1))
    # A default partition that already holds rows of this day would make the command fail: leave those there.
    cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {table}_default WHERE id >= %s AND id < %s)", [low, high])
    if cursor.fetchone()[0]:
        return 0
    cursor.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')")
    return 1
