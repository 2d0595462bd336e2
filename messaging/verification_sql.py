"""Named SQL of the recount; the same text on PostgreSQL and SQLite. ``since`` is the lowest message id."""

from __future__ import annotations

_WAITING = """
SELECT message_id, consumer FROM messaging_delivery
UNION
SELECT message_id, consumer FROM messaging_outboxentry WHERE consumer IS NOT NULL
UNION
SELECT message_id, consumer FROM messaging_scheduledmessage WHERE consumer IS NOT NULL
UNION
SELECT w.message_id, s.consumer FROM messaging_scheduledmessage w
JOIN messaging_subscription s ON s.type = w.type
WHERE w.consumer IS NULL
UNION
SELECT o.message_id, s.consumer FROM messaging_outboxentry o
JOIN messaging_subscription s ON s.type = o.type AND s.starts_at <= o.created_at
WHERE o.consumer IS NULL"""

# What a filter kept out is what the relay wrote down: the filter itself may have changed since.
# At most once: a delivery is settled as handled before it runs, so one that failed then has both outcomes.
_ATTEMPTED = """
SELECT message_id, consumer, max(handled) AS handled, max(ignored) AS ignored, max(dropped) AS dropped,
    max(filtered) AS filtered,
    sum(CASE WHEN done > 1 THEN done - 1 ELSE 0 END) AS duplicated
FROM (
    SELECT message_id, consumer, run,
        sum(CASE WHEN outcome = 'handled' THEN 1 WHEN outcome = 'dropped' THEN -1 ELSE 0 END) AS handled,
        sum(CASE WHEN outcome = 'ignored' THEN 1 ELSE 0 END) AS ignored,
        sum(CASE WHEN outcome = 'dropped' THEN 1 ELSE 0 END) AS dropped,
        sum(CASE WHEN outcome = 'filtered' THEN 1 ELSE 0 END) AS filtered,
        sum(CASE WHEN outcome IN ('handled', 'ignored', 'filtered') THEN 1 ELSE 0 END) AS done
    FROM messaging_attempt WHERE message_id >= %(since)s GROUP BY message_id, consumer, run
) runs
GROUP BY message_id, consumer"""

# A dead letter whose replay or copy is on its way must have that run or copy waiting, or dead again: else it is lost.
_DEAD = """
SELECT d.message_id, d.consumer,
    sum(CASE WHEN d.state = 'open' OR (d.state = 'resubmitting' AND c.id IS NOT NULL) THEN 1 ELSE 0 END) AS unresolved,
    sum(CASE WHEN d.state = 'discarded' THEN 1 ELSE 0 END) AS discarded,
    sum(CASE WHEN d.state = 'resolved' THEN 1 ELSE 0 END) AS resolved,
    sum(CASE WHEN d.state = 'resubmitting' AND w.message_id IS NOT NULL THEN 1 ELSE 0 END) AS moving,
    sum(CASE WHEN d.state = 'replaying'
        OR (d.state = 'resubmitting' AND w.message_id IS NULL AND c.id IS NULL) THEN 1 ELSE 0 END) AS stranded
FROM messaging_deadletter d
LEFT JOIN verification_waiting w ON w.message_id = d.copy_id AND w.consumer = d.consumer
LEFT JOIN messaging_deadletter c
    ON c.message_id = d.copy_id AND c.consumer = d.consumer AND c.state IN ('open', 'replaying', 'resubmitting')
WHERE d.message_id >= %(since)s
GROUP BY d.message_id, d.consumer"""

# An edited copy goes to the consumer that failed; only what happened tells whether others got it too.
_PAIR = """
SELECT m.id AS message_id, s.consumer AS consumer, m.correlation_id AS correlation_id
FROM messaging_message m
JOIN messaging_subscription s ON s.type = m.type AND s.starts_at <= m.published_at
WHERE m.id >= %(since)s AND m.consumer IS NULL
    AND m.id NOT IN (SELECT copy_id FROM messaging_deadletter WHERE copy_id IS NOT NULL)
UNION
SELECT m.id, m.consumer, m.correlation_id FROM messaging_message m WHERE m.id >= %(since)s AND m.consumer IS NOT NULL
UNION
SELECT m.id, f.consumer, m.correlation_id
FROM (
    SELECT message_id, consumer FROM verification_attempted
    UNION SELECT message_id, consumer FROM verification_waiting
    UNION SELECT message_id, consumer FROM verification_dead
    UNION SELECT copy_id, consumer FROM messaging_deadletter WHERE copy_id IS NOT NULL
) f
JOIN messaging_message m ON m.id = f.message_id
WHERE m.id >= %(since)s"""

_OUTCOME = """
SELECT p.message_id, p.consumer, p.correlation_id, coalesce(a.duplicated, 0) AS duplicated,
    CASE
        WHEN w.message_id IS NOT NULL OR d.moving > 0 THEN 'waiting'
        WHEN d.stranded > 0 THEN 'lost'
        WHEN d.unresolved > 0 THEN 'dead_lettered'
        WHEN a.handled > 0 THEN 'handled'
        WHEN a.ignored > 0 THEN 'ignored'
        WHEN a.dropped > 0 THEN 'dropped'
        WHEN a.filtered > 0 THEN 'filtered'
        WHEN d.discarded > 0 THEN 'discarded'
        WHEN d.resolved > 0 THEN 'resubmitted'
        WHEN c.message_id IS NOT NULL THEN 'cancelled'
        ELSE 'lost'
    END AS outcome
FROM verification_pair p
LEFT JOIN verification_waiting w ON w.message_id = p.message_id AND w.consumer = p.consumer
LEFT JOIN verification_attempted a ON a.message_id = p.message_id AND a.consumer = p.consumer
LEFT JOIN verification_dead d ON d.message_id = p.message_id AND d.consumer = p.consumer
LEFT JOIN messaging_cancelledmessage c ON c.message_id = p.message_id"""

_ROOT = """
SELECT correlation_id, min(type) AS type FROM messaging_message
WHERE id >= %(since)s AND causation_id IS NULL GROUP BY correlation_id"""

STEPS = {
    "verification_waiting": _WAITING,
    "verification_attempted": _ATTEMPTED,
    "verification_dead": _DEAD,
    "verification_pair": _PAIR,
    "verification_outcome": _OUTCOME,
    "verification_root": _ROOT,
}
"""Temporary tables, each from those before it."""

BY_CONSUMER = "SELECT consumer, outcome, count(*), sum(duplicated) FROM verification_outcome GROUP BY consumer, outcome"

BY_FLOW = """
SELECT coalesce(r.type, '(began earlier)'), o.outcome, count(*), sum(o.duplicated)
FROM verification_outcome o LEFT JOIN verification_root r ON r.correlation_id = o.correlation_id
GROUP BY coalesce(r.type, '(began earlier)'), o.outcome"""

FLOWS = """
SELECT coalesce(r.type, '(began earlier)') AS root, count(DISTINCT m.correlation_id), count(*)
FROM messaging_message m LEFT JOIN verification_root r ON r.correlation_id = m.correlation_id
WHERE m.id >= %(since)s
GROUP BY coalesce(r.type, '(began earlier)') ORDER BY 1"""

LOST = "SELECT message_id, consumer FROM verification_outcome WHERE outcome = 'lost' ORDER BY 1, 2 LIMIT %(limit)s"

DUPLICATED = "SELECT message_id, consumer FROM verification_outcome WHERE duplicated > 0 ORDER BY 1, 2 LIMIT %(limit)s"
