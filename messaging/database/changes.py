"""Count the rows that a transaction inserts, updates and deletes, by table, whoever's statements did it."""

from __future__ import annotations

from django.db import connection

Changes = dict[str, tuple[int, int, int]]
"""Rows inserted, updated and deleted, by table."""

# A table's partitions count as the table. Counters of this session that were not handed in yet are in here as well,
# which is why the difference of two looks is taken.
_COUNTERS = """
SELECT coalesce(parent.relname, s.relname), sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_del)::bigint
FROM pg_stat_xact_user_tables s
LEFT JOIN pg_inherits i ON i.inhrelid = s.relid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
GROUP BY 1 HAVING sum(n_tup_ins + n_tup_upd + n_tup_del) > 0
"""
_KINDS = ("INSERT", "UPDATE", "DELETE")


class RowCounts:
    """Counts from its making on. Needs a transaction that is rolled back: on SQLite its triggers go with it.

    What a rolled-back savepoint did counts on PostgreSQL and not on SQLite. TRUNCATE is not counted.
    """

    def __init__(self) -> None:
        self._before: Changes = {}
        if connection.vendor == "postgresql":
            self._before = _counters()
        else:
            _watch_tables()

    def changes(self) -> Changes:
        """Return what has changed since, without tables in which nothing did."""
        if connection.vendor == "sqlite":
            return _watched()
        nothing = (0, 0, 0)
        found = {}
        for table, now in _counters().items():
            before = self._before.get(table, nothing)
            difference = (now[0] - before[0], now[1] - before[1], now[2] - before[2])
            if difference != nothing:
                found[table] = difference
        return found


def _counters() -> Changes:
    with connection.cursor() as cursor:
        cursor.execute(_COUNTERS)
        return {table: (int(ins), int(upd), int(dels)) for table, ins, upd, dels in cursor.fetchall()}


def _watch_tables() -> None:
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\'"
        )
        tables = [name for (name,) in cursor.fetchall()]
        cursor.execute("CREATE TEMP TABLE signalbox_changes (tbl TEXT, kind INTEGER)")
        for place, table in enumerate(tables):
            literal = table.replace("'", "''")
            for kind, what in enumerate(_KINDS):
                cursor.execute(
                    f"CREATE TEMP TRIGGER signalbox_{place}_{kind} AFTER {what} ON main.{quote(table)}"
                    f" BEGIN INSERT INTO signalbox_changes VALUES ('{literal}', {kind}); END"
                )


def _watched() -> Changes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tbl, sum(kind = 0), sum(kind = 1), sum(kind = 2) FROM signalbox_changes GROUP BY tbl")
        return {table: (ins, upd, dels) for table, ins, upd, dels in cursor.fetchall()}
