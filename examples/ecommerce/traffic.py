"""Made-up orders: the same seed makes the same orders, the failing ones included."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from examples.ecommerce.billing.card_provider import DECLINED, GOOD, SLOW_GATEWAY
from examples.ecommerce.catalogue import ARTICLES, RETIRED, SOLD_OUT

_NAMESPACE = uuid.UUID("6f0b7b52-6c0e-4c5e-9b50-5d1f3c1f8a11")
_NAMES = ("ada", "alan", "barbara", "donald", "edsger", "frances", "grace", "john", "katherine", "margaret", "tim")

Draft = dict[str, Any]
"""An order as a client posts it: JSON."""


def _declined(order: Draft) -> None:
    order["card_token"] = DECLINED


def _slow_gateway(order: Draft) -> None:
    order["card_token"] = SLOW_GATEWAY


def _unknown_currency(order: Draft) -> None:
    order["currency"] = "XXX"


def _untranslated(order: Draft) -> None:
    order["language"] = "it"


def _retired_article(order: Draft) -> None:
    order["items"][0] |= {"sku": next(iter(RETIRED)), "unit_price": "11.50"}


def _sold_out(order: Draft) -> None:
    order["items"].append({"sku": SOLD_OUT, "quantity": 1, "unit_price": "120.00"})


FAILURES: dict[str, tuple[Callable[[Draft], None], int]] = {
    "declined": (_declined, 30),
    "slow_gateway": (_slow_gateway, 30),
    "unknown_currency": (_unknown_currency, 15),
    "untranslated": (_untranslated, 10),
    "retired_article": (_retired_article, 10),
    "sold_out": (_sold_out, 5),
}
"""Ways to fail and how often each is chosen: declined and sold out are business as usual, the slow gateway heals
by retrying, the others end as dead letters that an edited copy repairs (the untranslated one: a deploy)."""


@dataclass(frozen=True)
class OrderMaker:
    """Makes order number n of a seed, whatever was made before it."""

    seed: int
    failing_share: float = 0.1
    orchestrated_share: float = 0.0

    def draft(self, number: int, *, failure: str | None = None) -> Draft:
        """Return the order; ``failure`` forces a way to fail, "" forbids it, None lets the dice decide."""
        dice = random.Random(f"{self.seed}-{number}")
        order: Draft = {
            "order_id": str(uuid.uuid5(_NAMESPACE, f"{self.seed}-{number}")),
            "customer_email": f"{dice.choice(_NAMES)}.{dice.randrange(10_000)}@example.com",
            "language": dice.choice(("en", "en", "de", "fr")),
            "card_token": GOOD,
            "items": [_item(dice, sku) for sku in dice.sample(sorted(ARTICLES), dice.choice((1, 1, 2, 3)))],
            "currency": dice.choice(("EUR", "EUR", "USD", "GBP", "CHF")),
        }
        # Dice of their own: the share changes nothing else about an order.
        if random.Random(f"{self.seed}-{number}-form").random() < self.orchestrated_share:
            order["form"] = "orchestrated"
        if failure is None:
            failure = _choose(dice) if dice.random() < self.failing_share else ""
        if failure:
            FAILURES[failure][0](order)
        return order


def _item(dice: random.Random, sku: str) -> Draft:
    price: Decimal = ARTICLES[sku]
    return {"sku": sku, "quantity": dice.choice((1, 1, 1, 2, 3)), "unit_price": str(price)}


def _choose(dice: random.Random) -> str:
    weights = [weight for _, weight in FAILURES.values()]
    return dice.choices(list(FAILURES), weights)[0]
