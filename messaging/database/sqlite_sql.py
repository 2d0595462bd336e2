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
SELECT message_id, type, key FROM messaging_scheduledmessage WHERE due_at <= %s ORDER BY due_at, message_id LIMIT %s"""

MOVE_DUE = """
INSERT INTO messaging_outboxentry (message_id, type, key, position, created_at, consumer, run, resolves)
SELECT message_id, type, key, %s, %s, consumer, run, resolves FROM messaging_scheduledmessage
WHERE message_id = %s"""

NOTE_CANCELLED = """
INSERT INTO messaging_cancelledmessage (message_id, due_at, cancelled_at, cancelled_by, reason)
SELECT message_id, due_at, %s, %s, %s FROM messaging_scheduledmessage WHERE message_id = %s"""

NOTE_FIRING = """
INSERT INTO messaging_schedulefiring (schedule, due_at, fired_at, message_id, fired_by) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING"""

LAST_OF_BATCH = """
SELECT count(*), min(id), max(id) FROM (SELECT id FROM messaging_outboxentry ORDER BY id LIMIT %s)"""

FAN_OUT = """
INSERT INTO messaging_delivery (message_id, consumer, run, key, position, created_at, available_at, failures, crashes,
    is_alone, resolves)
SELECT o.message_id, coalesce(o.consumer, s.consumer), o.run, o.key, CASE WHEN s.is_ordered THEN o.position END,
    o.created_at, %(now)s, 0, 0, 0, o.resolves
FROM messaging_outboxentry o
LEFT JOIN messaging_subscription s ON s.type = o.type
    AND (s.consumer = o.consumer OR o.consumer IS NULL AND s.starts_at <= o.created_at)
WHERE o.id BETWEEN %(first)s AND %(last)s AND coalesce(o.consumer, s.consumer) IS NOT NULL
    AND (o.consumer IS NOT NULL OR o.message_id || s.consumer NOT IN (SELECT value FROM json_each(%(refused)s)))
ON CONFLICT DO NOTHING
RETURNING consumer"""

FILTERED = """
SELECT o.id, o.message_id, s.consumer, s.filter, m.type, m.version, m.kind, m.source, m.tenant, m.key,
    m.correlation_id, m.headers, m.body, m.blob
FROM messaging_outboxentry o
JOIN messaging_subscription s ON s.type = o.type AND s.starts_at <= o.created_at AND s.filter IS NOT NULL
JOIN messaging_message m ON m.id = o.message_id
WHERE o.id BETWEEN %s AND %s AND o.consumer IS NULL"""

CONTEXTS = """
SELECT DISTINCT m.traceparent FROM messaging_outboxentry o JOIN messaging_message m ON m.id = o.message_id
WHERE o.id BETWEEN %s AND %s AND o.run = 1 AND m.traceparent LIKE '%%-01'"""

COUNT_PUBLISHED = """
INSERT INTO messaging_rollupdelta (minute, consumer, type, outcome, count, duration_us, critical_us, buckets)
SELECT %s, '', type, 'published', count(DISTINCT message_id), 0, 0, '{}' FROM messaging_outboxentry
WHERE id BETWEEN %s AND %s AND run = 1 GROUP BY type"""

_IS_PAUSED = "c.paused_at IS NOT NULL AND (c.paused_until IS NULL OR c.paused_until > %(now)s)"

# Nothing of a paused consumer, nothing relayed after a drain began. '9999' alone would be compared as a number: the
# column's affinity is numeric.
_HORIZON = f"""coalesce((
            SELECT CASE WHEN {_IS_PAUSED} THEN '' ELSE coalesce(c.drain_at, '9999-12-31') END
            FROM messaging_consumerstate c WHERE c.name = %(consumer)s
        ), '9999-12-31')"""

_DUE = """SELECT * FROM (
    SELECT available_at FROM messaging_delivery
    WHERE consumer = %(consumer)s AND claim_token IS NULL AND position IS {kind} AND available_at <= %(now)s
    ORDER BY available_at LIMIT %(size)s
)"""
RIPE = f"""
SELECT count(*) >= %(size)s OR min(available_at) <= %(old)s
FROM ({_DUE.format(kind="NULL")} UNION ALL {_DUE.format(kind="NOT NULL")})"""

_CLAIM = f"""
UPDATE messaging_delivery SET claim_token = %(token)s, worker = %(worker)s, claimed_at = %(now)s
WHERE rowid IN (
    SELECT rowid FROM messaging_delivery
    WHERE consumer = %(consumer)s AND claim_token IS NULL AND position IS NULL AND available_at <= %(now)s
        AND {{alone}} AND created_at <= {_HORIZON}
    ORDER BY available_at, message_id LIMIT %(limit)s
)"""
CLAIM = _CLAIM.format(alone="NOT is_alone")
CLAIM_ALONE = _CLAIM.format(alone="is_alone")

_BLOCKS = """
    SELECT 1 FROM messaging_deadletter x
    WHERE x.blocks AND x.state NOT IN ('resolved', 'discarded')
        AND x.consumer = d.consumer AND x.key = d.key AND x.position < d.position"""
_IN_OUTBOX = "SELECT 1 FROM messaging_outboxentry o WHERE o.key = d.key AND o.position < d.position"

# See postgresql_lanes: the heads of all keys, and whether each may start.
HEADS = f"""
WITH RECURSIVE lane (key) AS (
    SELECT min(key) FROM messaging_delivery WHERE consumer = %(consumer)s AND position IS NOT NULL AND key > %(after)s
    UNION ALL
    SELECT (
        SELECT min(n.key) FROM messaging_delivery n
        WHERE n.consumer = %(consumer)s AND n.position IS NOT NULL AND n.key > lane.key
    ) FROM lane WHERE lane.key IS NOT NULL
)
SELECT d.rowid, d.key, d.position, d.failures, d.is_alone
FROM lane JOIN messaging_delivery d ON d.consumer = %(consumer)s AND d.key = lane.key AND d.position = (
    SELECT min(f.position) FROM messaging_delivery f
    WHERE f.consumer = %(consumer)s AND f.key = lane.key AND f.position IS NOT NULL
)
WHERE d.claim_token IS NULL AND d.available_at <= %(now)s
    AND d.created_at <= {_HORIZON} AND NOT EXISTS ({_IN_OUTBOX}) AND NOT EXISTS ({_BLOCKS})
LIMIT %(limit)s"""

FOLLOWERS = f"""
SELECT d.rowid, d.claim_token IS NULL AND d.available_at <= %(now)s AND d.failures = 0 AND NOT d.is_alone
    AND d.created_at <= {_HORIZON} AND NOT EXISTS ({_IN_OUTBOX}) AND NOT EXISTS ({_BLOCKS})
FROM messaging_delivery d
WHERE d.consumer = %(consumer)s AND d.key = %(key)s AND d.position > %(position)s
ORDER BY d.position, d.message_id LIMIT %(limit)s"""

MAY_RUN = f"""
    AND (d.position IS NULL OR (
        NOT EXISTS (
            SELECT 1 FROM messaging_delivery e
            WHERE e.consumer = d.consumer AND e.key = d.key AND e.position < d.position AND e.position IS NOT NULL
                AND e.claim_token IS NOT d.claim_token
        ) AND NOT EXISTS ({_BLOCKS})
    ))"""

TAKE_POSITIONS = """
INSERT INTO messaging_keycounter (key, last) VALUES (%s, %s)
ON CONFLICT (key) DO UPDATE SET last = last + %s
RETURNING last"""

_LOCK = """
SELECT d.message_id, d.consumer, d.run, d.failures, d.crashes, d.resolves, m.type, m.version, m.body, m.headers, m.key,
    m.correlation_id, m.causation_id, m.traceparent, m.source, m.tenant, m.published_at, d.created_at, m.expires_at,
    m.blob, d.position, d.available_at, d.claimed_at
FROM messaging_delivery d LEFT JOIN messaging_message m ON m.id = d.message_id
WHERE d.claim_token = %(token)s AND (%(only)s IS NULL OR d.message_id = %(only)s)"""
LOCK = f"{_LOCK} ORDER BY d.message_id"
LOCK_IN_ORDER = f"{_LOCK} {MAY_RUN} ORDER BY d.position, d.message_id"

INSERT_ATTEMPT = """
INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker,
    error_type, error_message, fingerprint)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""

INSERT_UNSEALED = "INSERT INTO messaging_unsealedrecords (kind, ids) VALUES ('attempt', %s)"

INSERT_DELTA = """
INSERT INTO messaging_rollupdelta (minute, consumer, type, outcome, count, duration_us, critical_us, buckets)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""

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
