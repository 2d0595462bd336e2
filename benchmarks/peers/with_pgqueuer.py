"""pgqueuer: enqueued in the Django transaction, consumed by its asyncio consumer with asyncpg, without Django."""

from __future__ import annotations

import asyncio
import json
import signal
from functools import cache
from typing import Any

from benchmarks.orders.work import CALL_SECONDS, KIND, RESERVE, STOCK_ROWS, TAKE_STOCK
from benchmarks.peers.connecting import as_django_connects


class InTransaction:
    """Its driver on Django's connection: the library's own refuses one that has a transaction open."""

    def fetch(self, query: str, *arguments: object) -> list[dict[str, object]]:
        from django.db import connection
        from psycopg import RawCursor
        from psycopg.rows import dict_row

        cursor = RawCursor(connection.connection, row_factory=dict_row)
        return cursor.execute(query.encode(), arguments or None).fetchall()


@cache
def _queries() -> Any:
    from pgqueuer.queries import SyncQueries

    return SyncQueries(InTransaction())


def publish_order(order: dict[str, Any]) -> None:
    _queries().enqueue("reserve", json.dumps(order).encode())


async def consume() -> None:
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver

    dsn = as_django_connects()
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4)
    consumer = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn)))

    @consumer.entrypoint("reserve")
    async def reserve_order(job: Any) -> None:
        order_id = json.loads(job.payload)["order_id"]
        if KIND == "call":
            await asyncio.sleep(CALL_SECONDS)
        async with pool.acquire() as connection, connection.transaction():
            if KIND == "contended":
                await connection.execute(
                    TAKE_STOCK.replace("%s", "$1"), int(order_id.replace("-", ""), 16) % STOCK_ROWS
                )
            await connection.execute(RESERVE.replace("%s", "$1"), order_id)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.shutdown.set)
    await consumer.run(batch_size=100)  # as many as a chunk of the bus


if __name__ == "__main__":
    import uvloop

    uvloop.run(consume())
