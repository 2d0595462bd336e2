"""Named SQL of the delivery path on PostgreSQL."""

from __future__ import annotations

from functools import partial

from messaging.database import postgresql_lanes as lanes

_MESSAGE = (
    "id, type, version, kind, source, tenant, content_type, body, headers, key, position, correlation_id,"
    " causation_id, traceparent, occurred_at, expires_at, blob, consumer"
)
_OUTBOX = "message_id, type, key, position, created_at, consumer, run, resolves"
_HINT = (
    "RETURNING (SELECT count(pg_notify('signalbox_relay', '')) FROM messaging_worker WHERE role = 'relay' AND is_idle)"
)

_PUBLISH_ONE = """
WITH {place}message AS (
    INSERT INTO messaging_message ({columns}, published_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, {position}, %s, %s, %s, %s, %s, %s::jsonb, %s,
        clock_timestamp())
    RETURNING id, type, key, position, published_at, consumer
)
INSERT INTO messaging_outboxentry ({outbox})
SELECT id, type, key, position, published_at, consumer, %s::int, %s::uuid FROM message
{hint}"""
_one = partial(_PUBLISH_ONE.format, columns=_MESSAGE, outbox=_OUTBOX, hint=_HINT)
PUBLISH_ONE = _one(place="", position="%s")
PUBLISH_ONE_KEYED = _one(place=f"{lanes.PLACE_ONE}, ", position="coalesce(%s::bigint, (SELECT last FROM place))")

_STORE_MANY = """
WITH raw AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[],
        %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[],
        %s::text[], %s::text[], %s::int[], %s::uuid[], %s::timestamptz[]
    ) WITH ORDINALITY AS g ({columns}, run, resolves, due_at, place)
), {given}, message AS (
    INSERT INTO messaging_message ({columns}, published_at)
    SELECT id, type, version, kind, source, tenant, content_type, body, headers::jsonb, key, taken, correlation_id,
        causation_id, traceparent, occurred_at, expires_at, blob::jsonb, consumer, clock_timestamp() FROM given
)"""
_store_many = partial(_STORE_MANY.format, columns=_MESSAGE)
_UNPLACED = _store_many(given="given AS (SELECT raw.*, position AS taken FROM raw)")
_INTO_OUTBOX = f"""
INSERT INTO messaging_outboxentry ({_OUTBOX})
SELECT id, type, key, taken, clock_timestamp(), consumer, run, resolves FROM given ORDER BY place
{_HINT}"""
PUBLISH_MANY = _UNPLACED + _INTO_OUTBOX
PUBLISH_MANY_KEYED = _store_many(given=lanes.PLACE_MANY) + _INTO_OUTBOX

_SCHEDULED = "message_id, type, key, due_at, created_at, consumer, run, resolves"

SCHEDULE = f"""{_UNPLACED}
INSERT INTO messaging_scheduledmessage ({_SCHEDULED})
SELECT id, type, key, due_at, clock_timestamp(), consumer, run, resolves FROM given"""

# A due message takes its position now. One whose key a producer holds is left for the next look: the relay waits for
# nobody's transaction.
MOVE_DUE = f"""
WITH waiting AS (
    SELECT message_id, key FROM messaging_scheduledmessage WHERE due_at <= clock_timestamp()
    ORDER BY due_at, message_id LIMIT %s FOR UPDATE SKIP LOCKED
), free AS (
    SELECT k.key FROM messaging_keycounter k WHERE k.key IN (SELECT key FROM waiting) ORDER BY k.key
    FOR UPDATE SKIP LOCKED
), due AS (
    DELETE FROM messaging_scheduledmessage s USING waiting w
    WHERE s.message_id = w.message_id AND (
        w.key IS NULL OR w.key IN (SELECT key FROM free)
        OR NOT EXISTS (SELECT 1 FROM messaging_keycounter k WHERE k.key = w.key)
    )
    RETURNING s.message_id, s.type, s.key, s.due_at, s.consumer, s.run, s.resolves
), raw AS (
    SELECT due.*, NULL::bigint AS position, row_number() OVER (ORDER BY due_at, message_id) AS place FROM due
), {lanes.PLACE_MANY}
INSERT INTO messaging_outboxentry ({_OUTBOX})
SELECT message_id, type, key, taken, clock_timestamp(), consumer, run, resolves FROM given ORDER BY place"""

TAKE_BACK = """
WITH gone AS (DELETE FROM messaging_scheduledmessage WHERE message_id = %s RETURNING message_id, due_at)
INSERT INTO messaging_cancelledmessage (message_id, due_at, cancelled_at, cancelled_by, reason)
SELECT message_id, due_at, clock_timestamp(), %s, %s FROM gone"""

NOTE_FIRING = """
INSERT INTO messaging_schedulefiring (schedule, due_at, fired_at, message_id, fired_by)
VALUES (%s, %s, clock_timestamp(), %s, %s)
ON CONFLICT DO NOTHING"""

DIRECT = f"""
INSERT INTO messaging_outboxentry ({_OUTBOX})
VALUES (%s, %s, %s, %s, clock_timestamp(), %s, %s, %s)
{_HINT}"""

# One statement: an outbox row leaves if and only if its deliveries exist. A server that crashes and forgets the batch
# still has its outbox rows; what a consumer commits waits for all that was written before it.
_RELAY = """
WITH {refused}taken AS (
    DELETE FROM messaging_outboxentry WHERE id = ANY ({chosen})
    RETURNING message_id, type, key, position, created_at, consumer, run, resolves
), routed AS (
    SELECT t.*, s.consumer AS receiver, s.is_ordered FROM taken t
    JOIN messaging_subscription s ON s.type = t.type AND s.starts_at <= t.created_at
    WHERE t.consumer IS NULL {wanted}
    UNION ALL
    SELECT t.*, t.consumer, coalesce(s.is_ordered, false) FROM taken t
    LEFT JOIN messaging_subscription s ON s.type = t.type AND s.consumer = t.consumer
    WHERE t.consumer IS NOT NULL
), made AS (
    INSERT INTO messaging_delivery (message_id, consumer, run, key, position, created_at, available_at, failures,
        crashes, is_alone, resolves)
    SELECT message_id, receiver, run, key, CASE WHEN is_ordered THEN position END, created_at, statement_timestamp(),
        0, 0, false, resolves
    FROM routed
    ON CONFLICT DO NOTHING
    RETURNING consumer
), counted AS (
    INSERT INTO messaging_rollupdelta (minute, consumer, type, outcome, count, duration_us, critical_us, buckets)
    SELECT date_trunc('minute', statement_timestamp()), consumer, type, outcome, count, 0, 0, '{{}}'
    FROM (
        SELECT '' AS consumer, type, 'published' AS outcome, count(DISTINCT message_id) AS count FROM taken
        WHERE run = 1 GROUP BY type
        UNION ALL SELECT consumer, '', 'relayed', count(*) FROM made GROUP BY consumer
    ) AS counts
)
SELECT '' AS consumer, count(*) FROM taken, set_config('synchronous_commit', 'off', true) AS losing_a_batch_is_harmless
UNION ALL SELECT consumer, count(*) FROM made GROUP BY consumer
UNION ALL SELECT m.traceparent, 0 FROM taken t JOIN messaging_message m ON m.id = t.message_id
WHERE %s AND t.run = 1 AND right(m.traceparent, 2) = '01'"""

# The one statement for all that no filter asks about; what some filter does ask about stays, and it says so.
RELAY = (
    _RELAY.format(
        refused="""head AS MATERIALIZED (
    SELECT id, type IN (SELECT type FROM messaging_subscription WHERE filter IS NOT NULL) AS is_filtered
    FROM messaging_outboxentry ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
), """,
        chosen="ARRAY(SELECT id FROM head WHERE NOT is_filtered)",
        wanted="",
    )
    + """
UNION ALL SELECT NULL, count(*) FROM head WHERE is_filtered HAVING count(*) > 0"""
)

# With filters it takes a transaction: lock a batch and read what the filters ask about, decide, then fan out.
CHOOSE = """
SELECT o.id, o.message_id, s.consumer, s.filter, m.type, m.version, m.kind, m.source, m.tenant, m.key,
    m.correlation_id, m.headers, m.body, m.blob
FROM (
    SELECT id, message_id, type, consumer, created_at FROM messaging_outboxentry
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
) o
LEFT JOIN messaging_subscription s
    ON o.consumer IS NULL AND s.type = o.type AND s.starts_at <= o.created_at AND s.filter IS NOT NULL
LEFT JOIN messaging_message m ON s.consumer IS NOT NULL AND m.id = o.message_id"""

RELAY_CHOSEN = _RELAY.format(
    refused="""refused AS (
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS r (id, message_id, consumer)
), history AS (
    INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker)
    SELECT id, message_id, consumer, 1, 0, 'filtered', statement_timestamp(), 0, 'relay' FROM refused
), unsealed AS (
    INSERT INTO messaging_unsealedrecords (kind, ids) SELECT 'attempt', %s::bytea WHERE EXISTS (SELECT 1 FROM refused)
), counted_refused AS (
    INSERT INTO messaging_rollupdelta (minute, consumer, outcome, count, duration_us, critical_us, buckets)
    SELECT date_trunc('minute', statement_timestamp()), consumer, 'filtered', count(*), 0, 0, '{}' FROM refused
    GROUP BY consumer
), """,
    chosen="%s::bigint[]",
    wanted="""AND NOT EXISTS (
        SELECT 1 FROM refused r WHERE r.message_id = t.message_id AND r.consumer = s.consumer
    )""",
)

_DUE = """(
    SELECT available_at FROM messaging_delivery
    WHERE consumer = %(consumer)s AND claim_token IS NULL AND position IS {kind} AND available_at <= clock_timestamp()
    ORDER BY available_at LIMIT %(size)s
)"""
# Each half reads no more than a batch, from its index.
RIPE = f"""
SELECT count(*) >= %(size)s OR min(available_at) <= clock_timestamp() - make_interval(secs => %(seconds)s)
FROM ({_DUE.format(kind="NULL")} UNION ALL {_DUE.format(kind="NOT NULL")}) AS due"""

# MATERIALIZED: as a plain subquery the planner may run it again for each row, and each time it takes as many more.
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT message_id, consumer, run FROM messaging_delivery
    WHERE consumer = %(consumer)s AND claim_token IS NULL AND position IS NULL AND available_at <= clock_timestamp()
        AND {{alone}} AND created_at <= {lanes.HORIZON}
    ORDER BY available_at, message_id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE messaging_delivery d
SET claim_token = %(token)s, worker = %(worker)s, claimed_at = clock_timestamp()
FROM due, set_config('synchronous_commit', 'off', true) AS losing_a_claim_is_harmless
WHERE d.message_id = due.message_id AND d.consumer = due.consumer AND d.run = due.run"""
CLAIM = _CLAIM.format(alone="NOT is_alone")
CLAIM_ALONE = _CLAIM.format(alone="is_alone")

_LOCK = """
SELECT d.message_id, d.consumer, d.run, d.failures, d.crashes, d.resolves, m.type, m.version, m.body, m.headers, m.key,
    m.correlation_id, m.causation_id, m.traceparent, m.source, m.tenant, m.published_at, d.created_at,
    clock_timestamp(), m.expires_at, m.blob, d.position, d.available_at, d.claimed_at
FROM (SELECT {turn}set_config('lock_timeout', %s, true)) AS patience,
    messaging_delivery d LEFT JOIN messaging_message m ON m.id = d.message_id
WHERE d.claim_token = %s {only}
ORDER BY {order}d.message_id
FOR UPDATE OF d"""
_ONE = "AND d.message_id = %s"
# Two integers, so that it meets no other advisory lock. It is waited for longer than a row: nobody's rows are held.
_TURN = """set_config('lock_timeout', '2s', true), CASE WHEN %s THEN pg_advisory_xact_lock(21321, hashtext(%s))
    ELSE pg_advisory_xact_lock_shared(21321, hashtext(%s)) END, """
LOCK = _LOCK.format(turn="", only="", order="")
LOCK_ONE = _LOCK.format(turn="", only=_ONE, order="")
LOCK_IN_ORDER = _LOCK.format(turn="", only=lanes.MAY_RUN, order="d.position, ")
LOCK_ONE_IN_ORDER = _LOCK.format(turn="", only=f"{_ONE} {lanes.MAY_RUN}", order="d.position, ")
LOCK_CHUNK = _LOCK.format(turn=_TURN, only="", order="")
LOCK_CHUNK_IN_ORDER = _LOCK.format(turn=_TURN, only=lanes.MAY_RUN, order="d.position, ")

SETTLE = """
WITH gone AS (
    DELETE FROM messaging_delivery WHERE claim_token = %(token)s AND message_id = ANY (%(messages)s::uuid[]) RETURNING 1
), history AS (
    INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker,
        error_type, error_message, fingerprint)
    SELECT id, message_id, %(consumer)s, run, number, %(outcome)s, started_at, duration_us, %(worker)s, error_type,
        error_message, fingerprint
    FROM unnest(%(ids)s::uuid[], %(messages)s::uuid[], %(runs)s::int[], %(numbers)s::int[],
        %(started)s::timestamptz[], %(durations)s::bigint[], %(error_types)s::text[], %(error_messages)s::text[],
        %(fingerprints)s::text[])
        AS a (id, message_id, run, number, started_at, duration_us, error_type, error_message, fingerprint)
), unsealed AS (
    INSERT INTO messaging_unsealedrecords (kind, ids) VALUES ('attempt', %(sealable)s)
), counted AS (
    INSERT INTO messaging_rollupdelta (minute, consumer, type, outcome, count, duration_us, critical_us, buckets)
    SELECT date_trunc('minute', statement_timestamp()), consumer, type, outcome, count, duration_us, critical_us,
        buckets::jsonb
    FROM unnest(%(delta_consumers)s::text[], %(delta_types)s::text[], %(delta_outcomes)s::text[], %(counts)s::bigint[],
        %(delta_durations)s::bigint[], %(criticals)s::bigint[], %(buckets)s::text[])
        AS d (consumer, type, outcome, count, duration_us, critical_us, buckets)
)
SELECT count(*) FROM gone"""

RELEASE = """
UPDATE messaging_delivery SET claim_token = NULL, worker = NULL, claimed_at = NULL WHERE claim_token = %s"""

_UNCLAIMED = "d.claim_token IS NULL AND d.position IS {kind}"
_WAITING = f"""(
    SELECT d.consumer FROM messaging_delivery d WHERE {_UNCLAIMED} ORDER BY d.consumer LIMIT 1
    ) UNION ALL
    SELECT (
        SELECT d.consumer FROM messaging_delivery d
        WHERE {_UNCLAIMED} AND d.consumer > w.consumer ORDER BY d.consumer LIMIT 1
    ) FROM {{name}} w WHERE w.consumer IS NOT NULL"""
_FIRST = f"""(
        SELECT d.available_at FROM messaging_delivery d
        WHERE d.consumer = c.name AND {_UNCLAIMED} AND (c.drain_at IS NULL OR d.created_at <= c.drain_at)
        ORDER BY d.available_at LIMIT 1
    )"""
# Skips from consumer to consumer, of each to its first delivery, in the order of an index. An EXISTS for each consumer
# read the backlog of one for all others, see postgresql_lanes.
CLAIMABLE = f"""
WITH RECURSIVE unordered (consumer) AS ({_WAITING.format(kind="NULL", name="unordered")}),
ordered (consumer) AS ({_WAITING.format(kind="NOT NULL", name="ordered")})
SELECT c.name FROM messaging_consumerstate c
    JOIN (SELECT consumer FROM unordered UNION SELECT consumer FROM ordered) w ON w.consumer = c.name
WHERE NOT (c.paused_at IS NOT NULL AND (c.paused_until IS NULL OR c.paused_until > clock_timestamp()))
    AND clock_timestamp() >= least({_FIRST.format(kind="NULL")},
        {_FIRST.format(kind="NOT NULL")})"""

BEAT = """
UPDATE messaging_worker SET heartbeat_at = clock_timestamp(), is_idle = %s
FROM set_config('synchronous_commit', 'off', true) AS losing_a_beat_is_harmless
WHERE id = %s"""

END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = ANY (%s::text[]) AND pid <> pg_backend_pid()"""
