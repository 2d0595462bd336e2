"""Named SQL of what runs in order, on PostgreSQL: positions, lanes (one key at one consumer), their heads and runs."""

from __future__ import annotations

# Of a consumer only what was relayed by then is claimed: nothing of a paused one, nothing after a drain began.
HORIZON = """coalesce((
            SELECT CASE
                WHEN c.paused_at IS NOT NULL AND (c.paused_until IS NULL OR c.paused_until > clock_timestamp())
                THEN '-infinity' ELSE coalesce(c.drain_at, 'infinity')
            END FROM messaging_consumerstate c WHERE c.name = %(consumer)s
        ), 'infinity')"""

# Each guard asks for the lowest position that stands before a delivery, in the order of its index: an EXISTS is planned
# as if one were met soon, and reads the whole table when there is none.
_DEAD = """(
    SELECT x.position FROM messaging_deadletter x
    WHERE x.blocks AND x.state NOT IN ('resolved', 'discarded')
        AND x.consumer = d.consumer AND x.key = d.key AND x.position < d.position
    ORDER BY x.position LIMIT 1
) IS NULL"""
_RELAYED = """(
    SELECT o.position FROM messaging_outboxentry o WHERE o.key = d.key AND o.position < d.position
    ORDER BY o.position LIMIT 1
) IS NULL"""

# Asked again when the rows are locked, on a fresh snapshot: whatever became of the row before it, one that failed, was
# rescued, or was taken by another worker stops its followers. Under the same token it ran a moment ago.
_UNCLAIMED = """(
    SELECT e.position FROM messaging_delivery e
    WHERE e.consumer = d.consumer AND e.key = d.key AND e.position < d.position
        AND e.claim_token IS DISTINCT FROM d.claim_token
    ORDER BY e.position LIMIT 1
) IS NULL"""
MAY_RUN = f"AND (d.position IS NULL OR ({_UNCLAIMED} AND {_DEAD}))"

# The heads are found by skipping from key to key, so a key that must wait costs a probe, however much waits behind it.
# A lower position may still be in the outbox, or in the hands of a relay that has not committed: in one snapshot it is
# visible there or as a delivery, never in neither, since it was committed before the higher one was taken.
CLAIM_IN_ORDER = f"""
WITH RECURSIVE lane (key) AS (
    SELECT min(key) FROM messaging_delivery WHERE consumer = %(consumer)s AND position IS NOT NULL AND key > %(after)s
    UNION ALL
    SELECT (
        SELECT min(n.key) FROM messaging_delivery n
        WHERE n.consumer = %(consumer)s AND n.position IS NOT NULL AND n.key > lane.key
    ) FROM lane WHERE lane.key IS NOT NULL
), free AS MATERIALIZED (
    SELECT f.message_id, f.consumer, f.run, f.key
    FROM lane CROSS JOIN LATERAL (
        SELECT d.*, {_RELAYED} AND {_DEAD} AS may_start FROM messaging_delivery d
        WHERE d.consumer = %(consumer)s AND d.key = lane.key AND d.position IS NOT NULL
        ORDER BY d.position LIMIT 1
    ) f
    WHERE f.claim_token IS NULL AND f.available_at <= clock_timestamp() AND f.created_at <= {HORIZON} AND f.may_start
    LIMIT %(limit)s
), head AS MATERIALIZED (
    SELECT d.message_id, d.consumer, d.run, d.key, d.position, d.failures, d.is_alone
    FROM free f JOIN messaging_delivery d USING (message_id, consumer, run)
    WHERE d.claim_token IS NULL
    FOR UPDATE OF d SKIP LOCKED
), follower AS (
    SELECT r.message_id, r.consumer, r.run
    FROM head h CROSS JOIN LATERAL (
        SELECT d.message_id, d.consumer, d.run, bool_and(
            d.claim_token IS NULL AND d.available_at <= clock_timestamp() AND d.failures = 0 AND NOT d.is_alone
            AND d.created_at <= {HORIZON} AND {_RELAYED} AND {_DEAD}
        ) OVER (ORDER BY d.position) AS is_next
        FROM (
            SELECT * FROM messaging_delivery b
            WHERE b.consumer = %(consumer)s AND b.key = h.key AND b.position > h.position
            ORDER BY b.position LIMIT %(limit)s
        ) d
    ) r
    WHERE r.is_next AND h.failures = 0
), chosen AS (
    (SELECT message_id, consumer, run FROM head ORDER BY is_alone DESC
        LIMIT CASE WHEN EXISTS (SELECT 1 FROM head WHERE is_alone) THEN 1 END)
    UNION ALL
    (SELECT message_id, consumer, run FROM follower WHERE NOT EXISTS (SELECT 1 FROM head WHERE is_alone))
    LIMIT %(limit)s
), claimed AS (
    UPDATE messaging_delivery d
    SET claim_token = %(token)s, worker = %(worker)s, claimed_at = clock_timestamp()
    FROM chosen c, set_config('synchronous_commit', 'off', true) AS losing_a_claim_is_harmless
    WHERE d.message_id = c.message_id AND d.consumer = c.consumer AND d.run = c.run AND d.claim_token IS NULL
    RETURNING 1
)
SELECT (SELECT count(*) FROM claimed), count(*), max(key) FROM free"""

_SUBSCRIBED_IN_ORDER = "EXISTS (SELECT 1 FROM messaging_subscription s WHERE s.type = {type} AND s.is_ordered)"

# The counter's row stays locked until the producer commits, so the order of positions is the order of commits. A new
# counter begins at the time in microseconds: above every position of the same key whose counter was pruned.
PLACE_ONE = f"""place AS (
    INSERT INTO messaging_keycounter AS k (key, last)
    SELECT %s::text, %s::bigint WHERE {_SUBSCRIBED_IN_ORDER.format(type="%s")}
    ON CONFLICT (key) DO UPDATE SET last = k.last + 1
    RETURNING last
)"""

# Counters are locked in the order of their keys, so that two producers of several keys wait instead of deadlocking.
PLACE_MANY = f"""asked AS (
    SELECT g.*, g.key IS NOT NULL AND g.position IS NULL
        AND {_SUBSCRIBED_IN_ORDER.format(type="g.type")} AS is_placed
    FROM raw g
), counter AS (
    INSERT INTO messaging_keycounter AS k (key, last)
    SELECT key, %s::bigint + count(*) FROM asked WHERE is_placed GROUP BY key ORDER BY key
    ON CONFLICT (key) DO UPDATE SET last = k.last + excluded.last - %s::bigint
    RETURNING key, last
), given AS (
    SELECT a.*, CASE WHEN a.is_placed
        THEN c.last + 1 - row_number() OVER (PARTITION BY a.key, a.is_placed ORDER BY a.place DESC)
        ELSE a.position END AS taken
    FROM asked a LEFT JOIN counter c ON c.key = a.key
)"""
