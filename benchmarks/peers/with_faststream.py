"""FastStream on a Redis stream: published on commit, consumed by an asyncio group with psycopg, without Django."""

from __future__ import annotations

import asyncio
import os
from functools import cache
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

from benchmarks.orders.work import CALL_SECONDS, KIND, RESERVE, STOCK_ROWS, TAKE_STOCK
from benchmarks.peers.connecting import as_django_connects

STREAM, GROUP = "orders", "shop"
broker = RedisBroker(os.environ["REDIS_URL"], logger=None)
app = FastStream(broker)


@cache
def _pool() -> Any:
    from psycopg_pool import AsyncConnectionPool

    return AsyncConnectionPool(as_django_connects(), min_size=1, max_size=4, open=False, kwargs={"autocommit": True})


if consumer := os.environ.get("BENCH_CONSUMER"):

    @app.on_startup
    async def open_pool() -> None:
        await _pool().open()

    @broker.subscriber(stream=StreamSub(STREAM, group=GROUP, consumer=f"{consumer}-{os.getpid()}", last_id=">"))
    async def reserve_order(order: dict[str, Any]) -> None:
        if KIND == "call":
            await asyncio.sleep(CALL_SECONDS)
        async with _pool().connection() as connection:
            if KIND == "contended":
                await connection.execute(TAKE_STOCK, [int(order["order_id"].replace("-", ""), 16) % STOCK_ROWS])
            await connection.execute(RESERVE, [order["order_id"]])


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(broker.connect())
    return loop


def publish_order(order: dict[str, Any]) -> None:
    from django.db import transaction

    transaction.on_commit(lambda: _loop().run_until_complete(broker.publish(order, stream=STREAM)))


def make_group() -> None:
    """Make the group at the stream's beginning: events from before the first consumer would be skipped."""
    import redis

    redis.Redis.from_url(os.environ["REDIS_URL"]).xgroup_create(STREAM, GROUP, id="0", mkstream=True)


if __name__ == "__main__":
    make_group()
