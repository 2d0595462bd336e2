"""Fill a database with history by SQL: messages, an attempt of each, dead letters, ten days of minutes."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

DAYS = 10
BATCH = 100_000
# Ids as publish() makes them: UUIDv7, here spread over the last ten days.
_ROWS = """
SELECT g, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(h, 1, 3) || '8'
    || substr(h, 4, 15))::uuid AS id, at
FROM (SELECT g, md5(g::text) AS h, now() - interval '10 days' * (1 - g / %s::float8) AS at
      FROM generate_series(%s::bigint, %s::bigint) AS g) AS numbers"""
_MESSAGES = f"""
INSERT INTO messaging_message (id, type, version, kind, source, tenant, content_type, body, headers, key,
    correlation_id, traceparent, occurred_at, published_at)
SELECT id, 'benchmarks.OrderPlaced', 1, 'event', 'signalbox', '', 'application/json',
    convert_to('{{"order_id": "' || id || '", "customer": "customer-' || g %% 500 || '", "filler": "'
    || repeat('x', 500) || '"}}', 'UTF8'), '{{}}', 'order ' || g, id::text, '', at, at
FROM ({_ROWS}) AS rows"""
_ATTEMPTS = f"""
INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker)
SELECT id, id, 'orders.reserve', 1, 1, 'handled', at, 1500, 'worker-1' FROM ({_ROWS}) AS rows"""
_DEAD = f"""
INSERT INTO messaging_deadletter (id, message_id, consumer, run, type, version, key, correlation_id, reason, attempts,
    fingerprint, error_type, error_message, location, traceback, dead_at, state, resolved_by, resolution)
SELECT id, id, 'orders.reserve', 1, 'benchmarks.OrderPlaced', 1, 'order ' || g, id::text, 'exhausted', 5,
    lpad(to_hex(g / 1000 %% 50), 16, '0'), 'ValueError', 'Out of stock: ' || g, 'orders.py:12 reserve', 'Traceback', at,
    'open', '', '' FROM ({_ROWS}) AS rows WHERE g %% 1000 = 0"""
_MINUTES = """
INSERT INTO messaging_rollup (minute, consumer, outcome, count, duration_us, critical_us, buckets)
SELECT date_trunc('minute', now()) - g * interval '1 minute', 'orders.reserve', 'handled', 70, 100000, 300000,
    '{"5": 60, "10": 10, "p2": 70, "w2": 70}'
FROM generate_series(1, %s) AS g ON CONFLICT DO NOTHING"""


def fill(rows: int) -> None:
    """Insert so many messages with what came of them."""
    from django.db import connection

    from messaging.database.partitions import ensure_partitions

    ensure_partitions(today=datetime.now(UTC) - timedelta(days=DAYS), days_ahead=DAYS)
    with connection.cursor() as cursor:
        for first in range(1, rows + 1, BATCH):
            bounds = [rows, first, min(first + BATCH - 1, rows)]
            for statement in (_MESSAGES, _ATTEMPTS, _DEAD):
                cursor.execute(statement, bounds)
        cursor.execute(_MINUTES, [DAYS * 24 * 60])
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    import django

    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int)
    arguments = parser.parse_args()
    django.setup()
    fill(arguments.rows)
