"""Sample traffic, so that the console is never empty at first sight: about two orders a second, a tenth failing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

from django.utils import timezone

from examples.ecommerce.inventory import stock
from examples.ecommerce.orders.models import Order
from examples.ecommerce.orders.placing import NewOrder, place_order
from examples.ecommerce.traffic import FAILURES, OrderMaker
from examples.sampling.flow import Flow

SOURCE = "sample"
_RESTOCK_EVERY = 500


def traffic() -> Iterator[None]:
    """Place an order with every step; the first shows every way to fail on an empty console."""
    maker = OrderMaker(seed=random.SystemRandom().getrandbits(48))
    opening = _opening()
    for number in count():
        failure = opening[number] if number < len(opening) else None
        if number % _RESTOCK_EVERY == 0:
            stock.restock()
        place_order(NewOrder.model_validate(maker.draft(number, failure=failure)), source=SOURCE)
        if number + 1 >= len(opening):
            yield


def _opening() -> list[str]:
    recent = Order.objects.filter(source=SOURCE, placed_at__gt=timezone.now() - timedelta(minutes=10))
    return [] if recent.exists() else ["", *FAILURES, ""]


ORDERS = Flow(name="ecommerce", what="orders", seconds_between=0.5, traffic=traffic)
