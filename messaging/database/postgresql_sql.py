"""Named SQL of the delivery path on PostgreSQL."""

from __future__ import annotations

_MESSAGE = (
    "id, type, version, kind, source, tenant, content_type, body, headers, key, position, correlation_id,"
    " causation_id, traceparent, occurred_at, expires_at, blob, consumer"
)
_OUTBOX = "message_id, type, key, position, created_at, consumer, run, resolves"
_HINT = (
    "RETURNING (SELECT count(pg_notify('signalbox_relay', '')) FROM messaging_worker WHERE role = 'relay' AND is_idle)"
)

PUBLISH_ONE = f"""
WITH message AS (
    INSERT INTO messaging_message ({_MESSAGE}, published_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, clock_timestamp())
    RETURNING id, type, key, position, published_at, consumer
)
INSERT INTO messaging_outboxentry ({_OUTBOX})
SELECT id, type, key, position, published_at, consumer, %s::int, %s::uuid FROM message
{_HINT}"""

_STORE_MANY = f"""
WITH given AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[],
        %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[],
        %s::text[], %s::text[], %s::int[], %s::uuid[], %s::timestamptz[]
    ) AS g ({_MESSAGE}, run, resolves, due_at)
), message AS (
    INSERT INTO messaging_message ({_MESSAGE}, published_at)
    SELECT id, type, version, kind, source, tenant, content_type, body, headers::jsonb, key, position, correlation_id,
        causation_id, traceparent, occurred_at, expires_at, blob::jsonb, consumer, clock_timestamp() FROM given
)"""

PUBLISH_MANY = f"""{_STORE_MANY}
INSERT INTO messaging_outboxentry ({_OUTBOX})
SELECT id, type, key, position, clock_timestamp(), consumer, run, resolves FROM given
{_HINT}"""

_SCHEDULED = "message_id, type, key, due_at, created_at, consumer, run, resolves"

SCHEDULE = f"""{_STORE_MANY}
INSERT INTO messaging_scheduledmessage ({_SCHEDULED})
SELECT id, type, key, due_at, clock_timestamp(), consumer, run, resolves FROM given"""

MOVE_DUE = f"""
WITH due AS (
    DELETE FROM messaging_scheduledmessage
    WHERE message_id = ANY (ARRAY(
        SELECT message_id FROM messaging_scheduledmessage WHERE due_at <= clock_timestamp()
        ORDER BY due_at, message_id LIMIT %s FOR UPDATE SKIP LOCKED
    ))
    RETURNING {_SCHEDULED}
)
INSERT INTO messaging_outboxentry ({_OUTBOX})
SELECT message_id, type, key, NULL, clock_timestamp(), consumer, run, resolves FROM due ORDER BY due_at, message_id"""

TAKE_BACK = """
WITH gone AS (DELETE FROM messaging_scheduledmessage WHERE message_id = %s RETURNING message_id, due_at)
INSERT INTO messaging_cancelledmessage (message_id, due_at, cancelled_at, cancelled_by, reason)
SELECT message_id, due_at, clock_timestamp(), %s, %s FROM gone"""

DIRECT = f"""
INSERT INTO messaging_outboxentry ({_OUTBOX})
VALUES (%s, %s, %s, %s, clock_timestamp(), %s, %s, %s)
{_HINT}"""

# One statement: an outbox row leaves if and only if its deliveries exist. A server that crashes and forgets the batch
# still has its outbox rows; what a consumer commits waits for all that was written before it.
RELAY = """
WITH taken AS (
    DELETE FROM messaging_outboxentry
    WHERE id = ANY (ARRAY(SELECT id FROM messaging_outboxentry ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED))
    RETURNING message_id, type, key, position, created_at, consumer, run, resolves
), routed AS (
    SELECT t.*, s.consumer AS receiver FROM taken t
    JOIN messaging_subscription s ON s.type = t.type AND s.starts_at <= t.created_at
    WHERE t.consumer IS NULL
    UNION ALL
    SELECT t.*, t.consumer FROM taken t WHERE t.consumer IS NOT NULL
), made AS (
    INSERT INTO messaging_delivery (message_id, consumer, run, key, position, created_at, available_at, failures,
        crashes, is_alone, resolves)
    SELECT message_id, receiver, run, key, position, created_at, statement_timestamp(), 0, 0, false, resolves
    FROM routed
    ON CONFLICT DO NOTHING
    RETURNING consumer
), counted AS (
    INSERT INTO messaging_rollupdelta (minute, consumer, outcome, count, duration_us, critical_us, buckets)
    SELECT date_trunc('minute', statement_timestamp()), '', 'published', count(DISTINCT message_id), 0, 0, '{}'
    FROM taken WHERE run = 1 HAVING count(*) > 0
)
SELECT '' AS consumer, count(*) FROM taken, set_config('synchronous_commit', 'off', true) AS losing_a_batch_is_harmless
UNION ALL SELECT consumer, count(*) FROM made GROUP BY consumer"""

# Of a consumer (%s) only what was relayed by then is claimed: nothing of a paused one, nothing after a drain began.
_HORIZON = """coalesce((
            SELECT CASE
                WHEN c.paused_at IS NOT NULL AND (c.paused_until IS NULL OR c.paused_until > clock_timestamp())
                THEN '-infinity' ELSE coalesce(c.drain_at, 'infinity')
            END FROM messaging_consumerstate c WHERE c.name = %s
        ), 'infinity')"""

_CLAIM = """
UPDATE messaging_delivery d
SET claim_token = %s, worker = %s, claimed_at = clock_timestamp()
FROM (
    SELECT message_id, consumer, run FROM messaging_delivery
    WHERE consumer = %s AND claim_token IS NULL AND position IS NULL AND available_at <= clock_timestamp() AND {alone}
        AND created_at <= {horizon}
    ORDER BY available_at, message_id LIMIT %s
    FOR UPDATE SKIP LOCKED
) due, set_config('synchronous_commit', 'off', true) AS losing_a_claim_is_harmless
WHERE d.message_id = due.message_id AND d.consumer = due.consumer AND d.run = due.run"""
CLAIM = _CLAIM.format(alone="NOT is_alone", horizon=_HORIZON)
CLAIM_ALONE = _CLAIM.format(alone="is_alone", horizon=_HORIZON)

# A chunk that meets another one's rows gives up soon and halves, instead of waiting for the deadlock detector.
_LOCK = """
SELECT d.message_id, d.consumer, d.run, d.failures, d.crashes, d.resolves, m.type, m.version, m.body, m.headers, m.key,
    m.correlation_id, m.causation_id, m.traceparent, m.source, m.tenant, m.published_at, d.created_at,
    clock_timestamp(), m.expires_at, m.blob
FROM (SELECT set_config('lock_timeout', '{timeout}', true)) AS patience,
    messaging_delivery d LEFT JOIN messaging_message m ON m.id = d.message_id
WHERE d.claim_token = %s {only}
ORDER BY d.message_id
FOR UPDATE OF d"""
LOCK = _LOCK.format(only="", timeout="300ms")
LOCK_ONE = _LOCK.format(only="AND d.message_id = %s", timeout="10s")

SETTLE = """
WITH gone AS (
    DELETE FROM messaging_delivery WHERE claim_token = %s AND message_id = ANY (%s::uuid[]) RETURNING 1
), history AS (
    INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker,
        error_type, error_message, fingerprint)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::int[], %s::int[], %s::text[], %s::timestamptz[],
        %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])
), unsealed AS (
    INSERT INTO messaging_unsealedrecords (kind, ids) VALUES ('attempt', %s)
), counted AS (
    INSERT INTO messaging_rollupdelta (minute, consumer, outcome, count, duration_us, critical_us, buckets)
    SELECT date_trunc('minute', statement_timestamp()), consumer, outcome, count, duration_us, critical_us,
        buckets::jsonb
    FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[])
        AS d (consumer, outcome, count, duration_us, critical_us, buckets)
)
SELECT count(*) FROM gone"""

RELEASE = """
UPDATE messaging_delivery SET claim_token = NULL, worker = NULL, claimed_at = NULL WHERE claim_token = %s"""

CLAIMABLE = """
SELECT c.name FROM messaging_consumerstate c
WHERE NOT (c.paused_at IS NOT NULL AND (c.paused_until IS NULL OR c.paused_until > clock_timestamp()))
    AND EXISTS (
        SELECT 1 FROM messaging_delivery d
        WHERE d.consumer = c.name AND d.claim_token IS NULL AND d.position IS NULL
            AND d.available_at <= clock_timestamp() AND (c.drain_at IS NULL OR d.created_at <= c.drain_at)
        UNION ALL
        SELECT 1 FROM messaging_delivery d
        WHERE d.consumer = c.name AND d.claim_token IS NULL AND d.position IS NOT NULL
            AND d.available_at <= clock_timestamp() AND (c.drain_at IS NULL OR d.created_at <= c.drain_at)
    )"""

BEAT = """
UPDATE messaging_worker SET heartbeat_at = clock_timestamp(), is_idle = %s
FROM set_config('synchronous_commit', 'off', true) AS losing_a_beat_is_harmless
WHERE id = %s"""

END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = ANY (%s::text[]) AND pid <> pg_backend_pid()"""
