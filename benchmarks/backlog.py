"""Make a backlog by SQL: one published order, copied as often as wanted."""

from __future__ import annotations

from uuid import uuid4

from benchmarks.stage import Stage

_ORDERS = """
INSERT INTO orders (id, customer, total, items)
SELECT f.order_id, o.customer, o.total, o.items FROM copies f, orders o WHERE o.id = %s"""
_MESSAGES = """
INSERT INTO messaging_message ({columns}, id, body, correlation_id)
SELECT {columns}, f.id, convert_to(replace(convert_from(m.body, 'UTF8'), %s, f.order_id::text), 'UTF8'), f.id::text
FROM copies f, messaging_message m"""
_OUTBOX = """
INSERT INTO messaging_outboxentry ({columns}, message_id)
SELECT {columns}, f.id FROM copies f, messaging_outboxentry o WHERE o.message_id = %s ORDER BY f.id"""


def fill(stage: Stage, n: int) -> None:
    """Leave ``n`` orders and their messages in the outbox of a fresh database."""
    from messaging.ids import new_id

    stage.produce(1)
    connection = stage.connection
    with connection.transaction():
        connection.execute("CREATE TEMP TABLE copies (id uuid, order_id uuid) ON COMMIT DROP")
        with connection.cursor().copy("COPY copies FROM STDIN") as copy:
            for _ in range(n - 1):
                copy.write_row((new_id(), uuid4()))
        (order, message) = stage.row("SELECT o.id, m.id FROM orders o, messaging_message m")
        connection.execute(_ORDERS, [order])
        for statement, table, own, given in (
            (_MESSAGES, "messaging_message", {"id", "body", "correlation_id"}, str(order)),
            (_OUTBOX, "messaging_outboxentry", {"id", "message_id"}, message),
        ):
            columns = ", ".join(name for name in _columns(stage, table) if name not in own)
            connection.execute(statement.format(columns=columns).encode(), [given])
    connection.execute("ANALYZE")


def _columns(stage: Stage, table: str) -> list[str]:
    rows = stage.connection.execute(
        "SELECT column_name::text FROM information_schema.columns WHERE table_name = %s", [table]
    )
    return [name for (name,) in rows.fetchall()]
