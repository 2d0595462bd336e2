"""Named SQL of the delivery path on SQLite."""

from __future__ import annotations

INSERT_MESSAGE = """
INSERT INTO messaging_message (id, type, version, kind, source, tenant, content_type, body, headers, key, position,
    correlation_id, causation_id, traceparent, occurred_at, expires_at, blob, consumer, published_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""

INSERT_OUTBOX = """
INSERT INTO messaging_outboxentry (message_id, type, key, position, created_at, consumer, run, resolves)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""

INSERT_SCHEDULED = """
INSERT INTO messaging_scheduledmessage (message_id, type, key, due_at, created_at, consumer, run, resolves)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""

SELECT_DUE = """
SELECT message_id FROM messaging_scheduledmessage WHERE due_at <= %s ORDER BY due_at, message_id LIMIT %s"""

MOVE_DUE = """
INSERT INTO messaging_outboxentry (message_id, type, key, position, created_at, consumer, run, resolves)
SELECT message_id, type, key, NULL, %s, consumer, run, resolves FROM messaging_scheduledmessage
WHERE message_id = %s"""

NOTE_CANCELLED = """
INSERT INTO messaging_cancelledmessage (message_id, due_at, cancelled_at, cancelled_by, reason)
SELECT message_id, due_at, %s, %s, %s FROM messaging_scheduledmessage WHERE message_id = %s"""

LAST_OF_BATCH = """
SELECT count(*), min(id), max(id) FROM (SELECT id FROM messaging_outboxentry ORDER BY id LIMIT %s)"""

FAN_OUT = """
INSERT INTO messaging_delivery (message_id, consumer, run, key, position, created_at, available_at, failures, crashes,
    is_alone, resolves)
SELECT o.message_id, coalesce(o.consumer, s.consumer), o.run, o.key, o.position, o.created_at, %(now)s, 0, 0, 0,
    o.resolves
FROM messaging_outboxentry o
LEFT JOIN messaging_subscription s ON o.consumer IS NULL AND s.type = o.type AND s.starts_at <= o.created_at
WHERE o.id BETWEEN %(first)s AND %(last)s AND coalesce(o.consumer, s.consumer) IS NOT NULL
ON CONFLICT DO NOTHING
RETURNING consumer"""

COUNT_PUBLISHED = """
INSERT INTO messaging_rollupdelta (minute, consumer, outcome, count, duration_us, critical_us, buckets)
SELECT %s, '', 'published', count(DISTINCT message_id), 0, 0, '{}' FROM messaging_outboxentry
WHERE id BETWEEN %s AND %s AND run = 1 HAVING count(*) > 0"""

_IS_PAUSED = "c.paused_at IS NOT NULL AND (c.paused_until IS NULL OR c.paused_until > %(now)s)"

# Nothing of a paused consumer, nothing relayed after a drain began. '9999' alone would be compared as a number: the
# column's affinity is numeric.
_HORIZON = f"""coalesce((
            SELECT CASE WHEN {_IS_PAUSED} THEN '' ELSE coalesce(c.drain_at, '9999-12-31') END
            FROM messaging_consumerstate c WHERE c.name = %(consumer)s
        ), '9999-12-31')"""

CLAIM = f"""
UPDATE messaging_delivery SET claim_token = %(token)s, worker = %(worker)s, claimed_at = %(now)s
WHERE rowid IN (
    SELECT rowid FROM messaging_delivery
    WHERE consumer = %(consumer)s AND claim_token IS NULL AND position IS NULL AND available_at <= %(now)s
        AND is_alone = %(alone)s AND created_at <= {_HORIZON}
    ORDER BY available_at, message_id LIMIT %(limit)s
)"""

LOCK = """
SELECT d.message_id, d.consumer, d.run, d.failures, d.crashes, d.resolves, m.type, m.version, m.body, m.headers, m.key,
    m.correlation_id, m.causation_id, m.traceparent, m.source, m.tenant, m.published_at, d.created_at, m.expires_at,
    m.blob
FROM messaging_delivery d LEFT JOIN messaging_message m ON m.id = d.message_id
WHERE d.claim_token = %(token)s AND (%(only)s IS NULL OR d.message_id = %(only)s)
ORDER BY d.message_id"""

INSERT_ATTEMPT = """
INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker,
    error_type, error_message, fingerprint)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""

INSERT_UNSEALED = "INSERT INTO messaging_unsealedrecords (kind, ids) VALUES ('attempt', %s)"

INSERT_DELTA = """
INSERT INTO messaging_rollupdelta (minute, consumer, outcome, count, duration_us, critical_us, buckets)
VALUES (%s, %s, %s, %s, %s, %s, %s)"""

RELEASE = """
UPDATE messaging_delivery SET claim_token = NULL, worker = NULL, claimed_at = NULL WHERE claim_token = %s"""

CLAIMABLE = f"""
SELECT c.name FROM messaging_consumerstate c
WHERE NOT ({_IS_PAUSED}) AND EXISTS (
    SELECT 1 FROM messaging_delivery d
    WHERE d.consumer = c.name AND d.claim_token IS NULL AND d.position IS NULL AND d.available_at <= %(now)s
        AND (c.drain_at IS NULL OR d.created_at <= c.drain_at)
    UNION ALL
    SELECT 1 FROM messaging_delivery d
    WHERE d.consumer = c.name AND d.claim_token IS NULL AND d.position IS NOT NULL AND d.available_at <= %(now)s
        AND (c.drain_at IS NULL OR d.created_at <= c.drain_at)
)"""
