"""The statements that fill a database with history, each for the messages numbered %(first)s to %(last)s.

Four messages make a flow of an order: placed, stock reserved, paid, confirmed. Every id follows from a number, so that
each statement names the rows of the others without reading them. Proportions stand in the statements.
"""

from __future__ import annotations

FUNCTIONS = """
CREATE FUNCTION pg_temp.at(g bigint) RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT timestamptz '{until}' - interval '{days} days' * (1 - g / {rows}::float8) $$;
CREATE FUNCTION pg_temp.us(g bigint) RETURNS bigint LANGUAGE sql STABLE AS
    $$ SELECT (extract(epoch FROM pg_temp.at(g)) * 1000000)::bigint $$;
-- UUIDv7, as publish() makes them: the time, then what nobody else has.
CREATE FUNCTION pg_temp.id(g bigint, what text) RETURNS uuid LANGUAGE sql STABLE AS
    $$ SELECT (lpad(to_hex((extract(epoch FROM pg_temp.at(g)) * 1000)::bigint), 12, '0') || '7'
        || substr(md5(what || g), 1, 3) || '8' || substr(md5(what || g), 4, 15))::uuid $$;
CREATE FUNCTION pg_temp.flow(g bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT g - g % 4 $$;
CREATE FUNCTION pg_temp.type(g bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT 'ecommerce.' || CASE g % 4 WHEN 0 THEN 'OrderPlaced' WHEN 1 THEN 'StockReserved'
        WHEN 2 THEN 'PaymentProcessed' ELSE 'OrderConfirmed' END $$;
CREATE FUNCTION pg_temp.consumer(g bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE g % 4 WHEN 0 THEN 'inventory.reserve_stock' WHEN 1 THEN 'billing.charge_card'
        WHEN 2 THEN 'orders.confirm_order' ELSE 'notification.send_email' END $$;
CREATE FUNCTION pg_temp.trace(g bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT md5('trace' || g - g % 4) $$;
CREATE FUNCTION pg_temp.span(g bigint, part int) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT substr(md5('span ' || g || ' ' || part), 1, 16) $$;
-- One flow of fifty is traced; spans are kept for the last days only.
CREATE FUNCTION pg_temp.is_traced(g bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS
    $$ SELECT g / 4 % 50 = 0 AND g >= {traced_from} $$;
"""

_NUMBERS = "FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS g"

MESSAGES = f"""
INSERT INTO messaging_message (id, type, version, kind, source, tenant, content_type, body, headers, key,
    correlation_id, causation_id, traceparent, occurred_at, published_at)
SELECT pg_temp.id(g, 'm'), pg_temp.type(g), CASE g %% 4 WHEN 0 THEN 2 ELSE 1 END, 'event', 'signalbox', '',
    'application/json', convert_to('{{"order_id": "' || pg_temp.id(pg_temp.flow(g), 'order')
    || '", "customer": "customer-'
    || g %% 500 || '", "filler": "' || repeat('x', 500) || '"}}', 'UTF8'), '{{}}', 'order ' || g / 4,
    pg_temp.id(pg_temp.flow(g), 'm')::text, CASE g %% 4 WHEN 0 THEN NULL ELSE pg_temp.id(g - 1, 'm')::text END,
    CASE WHEN pg_temp.is_traced(g) THEN '00-' || pg_temp.trace(g) || '-' || pg_temp.span(g, 0) || '-01'
        ELSE '00-' || pg_temp.trace(g) || '-' || pg_temp.span(g, 0) || '-00' END,
    pg_temp.at(g), pg_temp.at(g)
{_NUMBERS}"""

ATTEMPTS = f"""
INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker)
SELECT pg_temp.id(g, 'attempt'), pg_temp.id(g, 'm'), pg_temp.consumer(g), 1, CASE g %% 20 WHEN 0 THEN 2 ELSE 1 END,
    CASE g %% 1001 WHEN 0 THEN 'dead_lettered' ELSE 'handled' END, pg_temp.at(g) + interval '20 ms', 1500, 'worker-1'
{_NUMBERS}"""

# One message of twenty failed once before.
FAILURES = f"""
INSERT INTO messaging_attempt (id, message_id, consumer, run, number, outcome, started_at, duration_us, worker, next_at,
    error_type, error_message, location, traceback, fingerprint)
SELECT pg_temp.id(g, 'failure'), pg_temp.id(g, 'm'), pg_temp.consumer(g), 1, 1, 'retried',
    pg_temp.at(g) + interval '5 ms', 1500, 'worker-1', pg_temp.at(g) + interval '20 ms', 'builtins.TimeoutError',
    'No answer', 'stock.py:12 reserve', repeat('Traceback ', 20), lpad(to_hex(g %% 4), 16, '0')
{_NUMBERS} WHERE g %% 20 = 0"""

# One of 1001, which all types share: half of them are open, the others were replayed or discarded.
DEAD_LETTERS = f"""
INSERT INTO messaging_deadletter (id, message_id, consumer, run, type, version, key, correlation_id, reason, attempts,
    fingerprint, error_type, error_message, location, traceback, dead_at, state, resolved_at, resolved_by, resolution)
SELECT pg_temp.id(g, 'dead'), pg_temp.id(g, 'm'), pg_temp.consumer(g), 1, pg_temp.type(g),
    CASE g %% 4 WHEN 0 THEN 2 ELSE 1 END, 'order ' || g / 4, pg_temp.id(pg_temp.flow(g), 'm')::text, 'exhausted', 5,
    lpad(to_hex(g %% 4 * 13 + g / 4004 %% 13), 16, '0'), 'builtins.ValueError', 'Out of stock: ' || g,
    'orders.py:12 reserve', repeat('Traceback ', 50), pg_temp.at(g),
    CASE g / 4004 %% 4 WHEN 0 THEN 'resolved' WHEN 1 THEN 'discarded' ELSE 'open' END,
    CASE WHEN g / 4004 %% 4 < 2 THEN pg_temp.at(g) + interval '1 hour' END,
    CASE WHEN g / 4004 %% 4 < 2 THEN 'ana' ELSE '' END,
    CASE g / 4004 %% 4 WHEN 0 THEN 'replayed' WHEN 1 THEN 'discarded' ELSE '' END
{_NUMBERS} WHERE g %% 1001 = 0"""

# One flow of 25 has a saga: of a hundred one each waits for stock, waits for payment, compensates, or is held up by a
# dead letter; every tenth of the rest was cancelled.
_SAGAS = f"""
SELECT g, CASE WHEN g / 100 %% 100 = 0 THEN 'awaiting_stock' WHEN g / 100 %% 100 IN (1, 3) THEN 'awaiting_payment'
    WHEN g / 100 %% 100 = 2 THEN 'compensating' WHEN g / 100 %% 10 = 5 THEN 'cancelled' ELSE 'confirmed' END AS state,
    pg_temp.id(g, 'order')::text AS order_id
{_NUMBERS} WHERE g %% 100 = 0"""
SAGAS = f"""
INSERT INTO messaging_sagainstance (id, saga, correlation, flow, state, version, data, steps, answers, timeouts,
    undoing_to, started_at, changed_at, ended_at)
SELECT pg_temp.id(g, 'saga'), 'orders.OrderFulfilment', order_id, pg_temp.id(g, 'm')::text, state, 3,
    '{{"order_id": "' || order_id || '", "customer_email": "ana@shop.example", "language": "en",'
    ' "card_token": "tok_visa", "total": "12.00", "currency": "EUR", "reason": ""}}',
    jsonb_build_array(jsonb_build_object('step', 'stock', 'message_id', pg_temp.id(g + 1, 'm'), 'type',
        'ecommerce.StockHeld', 'undone', state = 'cancelled')), '[]',
    CASE WHEN state LIKE 'awaiting%%' THEN jsonb_build_object('too_slow', jsonb_build_object('message_id',
        pg_temp.id(g, 'timeout'), 'due_at', pg_temp.at(g) + interval '15 minutes')) ELSE '{{}}' END,
    CASE state WHEN 'compensating' THEN 'cancelled' ELSE '' END, pg_temp.at(g), pg_temp.at(g + 2),
    CASE WHEN state IN ('confirmed', 'cancelled') THEN pg_temp.at(g + 2) END
FROM ({_SAGAS}) AS sagas"""
MOVES = f"""
INSERT INTO messaging_sagatransition (id, instance, saga, correlation, number, at, kind, rule, message_id, message_type,
    state_before, state_after, changes, messages_out, timeouts, completed, undone, actor, note)
SELECT pg_temp.id(g + n, 'move'), pg_temp.id(g, 'saga'), 'orders.OrderFulfilment', order_id, n + 1, pg_temp.at(g + n),
    'message', (ARRAY['reserve', 'charge', 'paid'])[n + 1], pg_temp.id(g + n, 'm'), pg_temp.type(g + n),
    (ARRAY['', 'awaiting_stock', 'awaiting_payment'])[n + 1],
    CASE n WHEN 0 THEN 'awaiting_stock' WHEN 1 THEN 'awaiting_payment' ELSE state END,
    '{{"reason": ["", "noted"]}}', jsonb_build_array(jsonb_build_object('id', pg_temp.id(g + n + 1, 'm'), 'type',
        pg_temp.type(g + n + 1))), '[]', CASE n WHEN 1 THEN 'stock' ELSE '' END, '', '', ''
FROM ({_SAGAS}) AS sagas CROSS JOIN generate_series(0, 2) AS n"""
HELD_UP = f"""
INSERT INTO messaging_deadletter (id, message_id, consumer, run, type, version, key, correlation_id, reason, attempts,
    fingerprint, error_type, error_message, location, traceback, dead_at, state, resolved_by, resolution)
SELECT pg_temp.id(g, 'held'), pg_temp.id(g + 2, 'm'), 'orders.OrderFulfilment', 1, pg_temp.type(g + 2), 1, order_id,
    pg_temp.id(g, 'm')::text, 'exhausted', 5, lpad(to_hex(60), 16, '0'), 'builtins.ValueError', 'No such card',
    'fulfilment.py:66 charge', repeat('Traceback ', 50), pg_temp.at(g + 2), 'open', '', ''
FROM ({_SAGAS}) AS sagas WHERE g / 100 %% 100 = 3"""

# Four spans a message: its publication, its handling, and two statements of the handler.
SPANS = f"""
INSERT INTO messaging_span (id, trace_id, span_id, parent_id, name, kind, service, scope, started_us, duration_us,
    status, status_message, message_id, consumer, type, correlation_id, attributes, events, links)
SELECT pg_temp.id(g, 'span ' || part || ' '), pg_temp.trace(g), pg_temp.span(g, part),
    CASE WHEN part >= 2 THEN pg_temp.span(g, 1) WHEN part = 1 THEN pg_temp.span(g, 0) WHEN g %% 4 = 0 THEN ''
        ELSE pg_temp.span(g - 1, 1) END,
    CASE part WHEN 0 THEN 'publish ' || pg_temp.type(g) WHEN 1 THEN 'process ' || pg_temp.consumer(g)
        ELSE 'UPDATE stock' END,
    CASE part WHEN 0 THEN 'producer' WHEN 1 THEN 'consumer' ELSE 'client' END,
    CASE g %% 4 WHEN 0 THEN 'shop' ELSE 'signalbox' END, 'signalbox', pg_temp.us(g) + part * 2000, 1500,
    CASE WHEN part = 1 AND g / 200 %% 50 = 0 THEN 'error' ELSE 'unset' END, '', pg_temp.id(g, 'm'),
    CASE part WHEN 1 THEN pg_temp.consumer(g) ELSE '' END, pg_temp.type(g), pg_temp.id(pg_temp.flow(g), 'm')::text,
    jsonb_build_object('messaging.system', 'signalbox', 'signalbox.attempt', 1, 'signalbox.outcome',
        CASE part WHEN 1 THEN 'handled' ELSE '' END, 'server.address', 'db.internal'), '[]', '[]'
{_NUMBERS} CROSS JOIN generate_series(0, 3) AS part WHERE pg_temp.is_traced(g)"""
TRACES = f"""
INSERT INTO messaging_trace (trace_id, sort_id, started_us, ended_us, root_us, name, service, correlation_id, spans,
    errors, is_inner)
SELECT pg_temp.trace(g), pg_temp.id(g, 'span 0 '), pg_temp.us(g), pg_temp.us(g + 3) + 7500 + g %% 977 * 1000,
    pg_temp.us(g), 'publish ' || pg_temp.type(g), 'shop', pg_temp.id(g, 'm')::text, 16,
    CASE g / 200 %% 50 WHEN 0 THEN 4 ELSE 0 END, false
{_NUMBERS} WHERE g %% 4 = 0 AND pg_temp.is_traced(g)"""

AUDIT = f"""
WITH appended AS (
    INSERT INTO messaging_auditrecord (id, at, actor, actor_kind, address, action, outcome, target, reason, request_id,
        details)
    SELECT pg_temp.id(g, 'audit'), pg_temp.at(g), (ARRAY['ana', 'ben', 'carla'])[g / 10000 %% 3 + 1], 'user',
        '192.0.2.7', (ARRAY['replay', 'discard', 'pause', 'resume'])[g / 10000 %% 4 + 1],
        CASE g / 10000 %% 20 WHEN 0 THEN 'denied' ELSE 'done' END, CASE g / 10000 %% 4 WHEN 2 THEN 'consumer:'
        || pg_temp.consumer(g / 10000) WHEN 3 THEN 'consumer:' || pg_temp.consumer(g / 10000)
        ELSE 'message:' || pg_temp.id(g, 'm') END, 'The supplier is back', '', '{{}}'
    {_NUMBERS} WHERE g %% 10000 = 0 RETURNING id)
INSERT INTO messaging_unsealedrecords (kind, ids) SELECT 'audit', uuid_send(id) FROM appended"""

SCHEDULED = f"""
INSERT INTO messaging_scheduledmessage (message_id, type, key, due_at, created_at, run)
SELECT pg_temp.id(g, 'm'), pg_temp.type(g), 'order ' || g / 4, now() + interval '1 day' + g * interval '1 ms',
    pg_temp.at(g), 1
{_NUMBERS} WHERE g %% 5000 = 11"""
CANCELLED = f"""
INSERT INTO messaging_cancelledmessage (message_id, due_at, cancelled_at, cancelled_by, reason)
SELECT pg_temp.id(g, 'm'), pg_temp.at(g) + interval '1 hour', pg_temp.at(g), 'ana', 'Not wanted any more'
{_NUMBERS} WHERE g %% 5000 = 12"""
# Retries that wait for tomorrow: nothing that is measured on this database claims them.
WAITING = f"""
INSERT INTO messaging_delivery (message_id, consumer, run, key, created_at, available_at, failures, crashes, is_alone)
SELECT pg_temp.id(g, 'm'), pg_temp.consumer(g), 2, 'order ' || g / 4, pg_temp.at(g), now() + interval '1 day', 1, 0,
    false
{_NUMBERS} WHERE g %% 5000 = 13"""
QUARANTINE = f"""
INSERT INTO messaging_quarantinedmessage (id, kind, source, reason, field, type, version, external_id, content_type,
    raw, headers, body_hash, received_at, state, resolved_by)
SELECT pg_temp.id(g, 'quarantine'), CASE g / 5000 %% 2 WHEN 0 THEN 'parked' ELSE 'quarantined' END, 'shop',
    'No contract of this name', '', 'shop.Unknown', 1, 'external ' || g, 'application/json', convert_to('{{}}', 'UTF8'),
    '{{}}', md5(g::text), pg_temp.at(g), CASE WHEN g / 5000 %% 10 = 0 THEN 'open' ELSE 'discarded' END, ''
{_NUMBERS} WHERE g %% 5000 = 14"""
RECEIVED = f"""
INSERT INTO messaging_receivedmessage (source, external_id, body_hash, message_id, received_at)
SELECT 'shop', 'external ' || g, md5(g::text), pg_temp.id(g, 'm'), pg_temp.at(g)
{_NUMBERS} WHERE g %% 20 = 4"""
FIRINGS = f"""
INSERT INTO messaging_schedulefiring (schedule, due_at, fired_at, message_id, fired_by)
SELECT 'benchmark.nightly', pg_temp.at(g), pg_temp.at(g), pg_temp.id(g, 'm'), ''
{_NUMBERS} WHERE g %% 1000 = 0"""
REPLAYS = f"""
INSERT INTO messaging_historyreplay (id, consumer, mode, state, types, from_at, to_at, only_missing, rate, total,
    looked_at, done, left_out, report, next_at, last_error, started_at, started_by, reason, ended_at, ended_by)
SELECT pg_temp.id(g, 'replay'), pg_temp.consumer(g / 100000), 'shadow', 'done', '["ecommerce.OrderPlaced"]',
    pg_temp.at(g) - interval '1 hour', pg_temp.at(g), false, 100, 1000, 1000, 990, '{{"filtered": 10}}',
    '{{"differing": 3, "samples": []}}', pg_temp.at(g), '', pg_temp.at(g), 'ana', 'A new rule', pg_temp.at(g), ''
{_NUMBERS} WHERE g %% 100000 = 0"""

BY_MESSAGE = (
    MESSAGES, ATTEMPTS, FAILURES, DEAD_LETTERS, SAGAS, MOVES, HELD_UP, SPANS, TRACES, AUDIT, SCHEDULED, CANCELLED,
    WAITING, QUARANTINE, RECEIVED, FIRINGS, REPLAYS,
)  # fmt: skip

ROLLUPS = """
INSERT INTO messaging_rollup (minute, consumer, outcome, count, duration_us, critical_us, buckets)
SELECT date_trunc('minute', now()) - g * interval '1 minute', name, outcome, 70, 100000, 300000,
    CASE WHEN outcome = 'handled' THEN '{"5": 60, "10": 10, "p2": 70, "w2": 70}'::jsonb ELSE '{}' END
FROM generate_series(1, %(minutes)s) AS g CROSS JOIN (
    SELECT pg_temp.consumer(n), outcome FROM generate_series(0, 3) AS n CROSS JOIN unnest(ARRAY['handled', 'retried'])
        AS outcome UNION ALL SELECT '', 'published') AS kinds (name, outcome)
ON CONFLICT DO NOTHING"""
TOTALS = """
INSERT INTO messaging_total (consumer, outcome, count, duration_us, critical_us, buckets)
SELECT consumer, outcome, sum(count), sum(duration_us), sum(critical_us), '{}' FROM messaging_rollup GROUP BY 1, 2
ON CONFLICT DO NOTHING"""
SCHEDULE = """
INSERT INTO messaging_schedule (name, source, type, cron, zone, missed, missed_limit, description, declared_in, next_at,
    fired, skipped, failures, last_error, paused_by, pause_reason, synced_at)
VALUES ('benchmark.nightly', 'signalbox', 'ecommerce.OrderPlaced', '0 3 * * *', 'UTC', 'one', 1, '', 'shop.py:1',
    now() + interval '1 day', 1000, 0, 0, '', '', '', now())"""
OTHERS = (ROLLUPS, TOTALS, SCHEDULE)
