"""Sample traffic, so that the console is never empty at first sight: about two orders a second, a tenth failing."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from examples.ecommerce import switch
from examples.ecommerce.inventory import stock
from examples.ecommerce.orders.models import Order
from examples.ecommerce.orders.placing import NewOrder, place_order
from examples.ecommerce.traffic import FAILURES, OrderMaker

SOURCE = "sample"
ORDERS_PER_SECOND = 2.0
_LOOK_SECONDS = 0.25
_RESTOCK_EVERY = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SampleStatus:
    is_on: bool
    orders_per_second: float
    started_at: datetime | None


def is_running() -> bool:
    """Say whether the switch is on."""
    return switch.read().is_on


def set_running(on: bool, by: str) -> None:
    """Turn sample traffic on or off, in whatever process it runs."""
    switch.turn(on, by=by)


def status() -> SampleStatus:
    """Return what the banner shows."""
    now = switch.read()
    return SampleStatus(is_on=now.is_on, orders_per_second=ORDERS_PER_SECOND, started_at=now.started_at)


def run(stop: threading.Event) -> None:
    """Place sample orders while the switch is on, until ``stop`` is set."""
    try:
        while not stop.is_set():
            try:
                _run_while_on(stop)
            except DatabaseError:
                _log.warning("Sample traffic: the database did not answer, trying again.", exc_info=True)
                close_old_connections()
            stop.wait(_LOOK_SECONDS)
    finally:
        connection.close()


def _run_while_on(stop: threading.Event) -> None:
    if not is_running():
        return
    if not switch.read().started_at:
        switch.turn(True, by="start")
    maker = OrderMaker(seed=random.SystemRandom().getrandbits(48))
    number = 0
    for failure in _opening():
        _place(maker, number, failure=failure)
        number += 1
    due = time.monotonic()
    while _is_time(due, stop):
        _place(maker, number)
        number += 1
        # Orders missed while the machine slept are not made up for.
        due = max(due + 1 / ORDERS_PER_SECOND, time.monotonic() - 1)


def _is_time(due: float, stop: threading.Event) -> bool:
    """Wait for ``due``; False as soon as traffic is to end."""
    while not stop.is_set() and is_running():
        wait = due - time.monotonic()
        if wait <= 0:
            return True
        stop.wait(min(wait, _LOOK_SECONDS))
    return False


def _opening() -> list[str]:
    """Show every way to fail at once on an empty console; later the dice decide."""
    recent = Order.objects.filter(source=SOURCE, placed_at__gt=timezone.now() - timedelta(minutes=10))
    return [] if recent.exists() else ["", *FAILURES, ""]


def _place(maker: OrderMaker, number: int, *, failure: str | None = None) -> None:
    if number % _RESTOCK_EVERY == 0:
        stock.restock()
    place_order(NewOrder.model_validate(maker.draft(number, failure=failure)), source=SOURCE)
