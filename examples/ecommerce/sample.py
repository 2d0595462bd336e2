"""Sample traffic, so that the console is never empty at first sight: about two orders a second, a tenth failing.

Half of them are led by a saga, so that both forms of the flow can be compared.
"""

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
    maker, opening = OrderMaker(random.SystemRandom().getrandbits(48), orchestrated_share=0.5), _opening()
    for number in count():
        if number % _RESTOCK_EVERY == 0:
            stock.restock()
        if number < len(opening):
            form, failure = opening[number]
            draft = {**maker.draft(number, failure=failure), "form": form}
        else:
            draft = maker.draft(number)
        place_order(NewOrder.model_validate(draft), source=SOURCE)
        if number + 1 >= len(opening):
            yield


def _opening() -> list[tuple[str, str]]:
    """Return form and failure of the first orders."""
    recent = Order.objects.filter(source=SOURCE, placed_at__gt=timezone.now() - timedelta(minutes=10))
    if recent.exists():
        return []
    choreographed = [("choreographed", failure) for failure in ("", *FAILURES, "")]
    return [*choreographed, *(("orchestrated", failure) for failure in ("", "declined", "sold_out", ""))]


ORDERS = Flow(name="ecommerce", what="orders", seconds_between=0.5, traffic=traffic)
