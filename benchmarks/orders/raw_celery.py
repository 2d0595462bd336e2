"""The orders as one writes them with Celery alone: one task per event, sent when the transaction has committed."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from django.db import transaction

from benchmarks.orders.work import call_outside, reserve

app = Celery("orders", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
if os.environ.get("BENCH_STOCK_CELERY") != "1":
    app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000  # stock Celery opens a database connection for every task


@app.task(name="reserve_order")  # type: ignore[untyped-decorator]
def reserve_order(order: dict[str, Any]) -> None:
    call_outside()
    with transaction.atomic():
        reserve(order["order_id"])


def publish_order(order: dict[str, Any]) -> None:
    transaction.on_commit(lambda: reserve_order.delay(order))
