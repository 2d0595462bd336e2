from __future__ import annotations

from itertools import count
from uuid import UUID

from examples.ecommerce.inventory import stock
from examples.ecommerce.orders.fulfilment import OrderFulfilment
from examples.ecommerce.orders.placing import NewOrder, place_order
from tests.failures import Ending, Scenario
from tests.failures.sagas import ending_of
from tests.shop import draft

_numbers = count()
_REFUSALS = {
    "goods sold out": "sold_out",
    "article retired": "retired_article",
    "card declined": "declined",
    "card gateway slow": "slow_gateway",
    "currency unknown": "unknown_currency",
}


def _start(refusal: str) -> UUID:
    order = draft(_REFUSALS.get(refusal, ""), number=next(_numbers), form="orchestrated")
    return place_order(NewOrder.model_validate(order)).order.id


def _look(order_id: UUID) -> Ending:
    return ending_of(OrderFulfilment, order_id)


ORDERS = Scenario(
    title="Orders (R1), `orders.OrderFulfilment`",
    director=OrderFulfilment.definition.name,
    consumers=(
        OrderFulfilment.definition.name, "inventory.serve_saga", "billing.serve_saga", "notification.send_email",
    ),
    start=_start,
    look=_look,
    refusals=tuple(_REFUSALS),
    prepare=stock.open_warehouse,
)  # fmt: skip
