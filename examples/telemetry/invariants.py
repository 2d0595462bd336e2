"""What must hold for the telemetry at any moment; ``manage.py verify`` checks it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db import connection

from examples.telemetry.models import ArchivedBatch
from messaging.verification import invariant

_LIMIT = 21
_ARCHIVES_READ = 50


@invariant("telemetry: at most one alert per anomaly, and none without an anomaly")
def alerts_happen_once() -> Iterator[str]:
    query = """
        SELECT l.reading_id, count(*), count(a.reading_id) FROM telemetry_alert l
        LEFT JOIN telemetry_anomaly a ON a.reading_id = l.reading_id
        GROUP BY l.reading_id HAVING count(*) > 1 OR count(a.reading_id) = 0"""
    for reading, alerts, anomalies in _rows(query):
        yield f"reading {reading}: {alerts} alerts, {'an' if anomalies else 'no'} anomaly"


@invariant("telemetry: every anomaly is alerted, on its way, or waits for a person")
def anomalies_are_alerted() -> Iterator[str]:
    # An AnomalyDetected bears its sensor as the key.
    query = """
        SELECT a.reading_id, a.sensor FROM telemetry_anomaly a
        LEFT JOIN telemetry_alert l ON l.reading_id = a.reading_id
        WHERE l.reading_id IS NULL AND a.sensor NOT IN (
            SELECT key FROM messaging_delivery WHERE key IS NOT NULL AND consumer = 'telemetry.raise_alert'
            UNION SELECT key FROM messaging_outboxentry WHERE key IS NOT NULL
            UNION SELECT key FROM messaging_deadletter
                WHERE key IS NOT NULL AND consumer = 'telemetry.raise_alert' AND state <> 'resolved')"""
    for reading, sensor in _rows(query):
        yield f"reading {reading} of {sensor} is out of line, nobody was called, and nothing is pending or dead"


@invariant("telemetry: the newest archives hold what they say, and no reading twice")
def archives_are_whole() -> Iterator[str]:
    seen: Counter[str] = Counter()
    for batch in ArchivedBatch.objects.order_by("-archived_at")[:_ARCHIVES_READ]:
        lines = gzip.decompress(batch.lines).decode().splitlines()
        seen.update(json.loads(line)["reading_id"] for line in lines)
        if len(lines) != batch.readings:
            yield f"archive {batch.id}: {len(lines)} readings, {batch.readings} stated"
    yield from (f"reading {reading} is archived {count} times" for reading, count in seen.items() if count > 1)


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"{query} LIMIT {_LIMIT}")
        return list(cursor.fetchall())
