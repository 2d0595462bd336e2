"""Fill a database with history by SQL: flows of orders with all that came of them, over the last ten days.

Spans are of the last three days, as the bus keeps them; everything else grows with the messages.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta

from benchmarks import history_sql

DAYS, DAYS_OF_SPANS = 10, 3
BATCH = 100_000


def fill(rows: int) -> None:
    """Insert so many messages with what came of them; tell on standard error how long it took."""
    from django.db import connection

    from messaging.chain.sealing import seal_everything
    from messaging.database.partitions import ensure_partitions

    began = time.monotonic()
    ensure_partitions(today=datetime.now(UTC) - timedelta(days=DAYS), days_ahead=DAYS)
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")  # whoever loses it fills anew
        cursor.execute(_functions(rows))
        for first in range(0, rows, BATCH):
            bounds = {"first": first, "last": min(first + BATCH, rows) - 1}
            for statement in history_sql.BY_MESSAGE:
                cursor.execute(statement, bounds)
        for statement in history_sql.OTHERS:
            cursor.execute(statement, {"minutes": DAYS * 24 * 60})
        seal_everything()
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        size = cursor.fetchone()[0]
    print(f"{rows:,} messages in {time.monotonic() - began:.0f} s, {size}", file=sys.stderr, flush=True)


def _functions(rows: int) -> str:
    # Fixed now: the ids of every statement follow from it.
    until = datetime.now(UTC).isoformat()
    traced_from = rows * (DAYS - DAYS_OF_SPANS) // DAYS
    return history_sql.FUNCTIONS.format(until=until, days=DAYS, rows=rows, traced_from=traced_from)


if __name__ == "__main__":
    import django

    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int)
    arguments = parser.parse_args()
    django.setup()
    fill(arguments.rows)
