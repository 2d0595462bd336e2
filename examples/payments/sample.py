"""Sample traffic: about a payment a second from two dozen accounts, a tenth failing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from django.utils import timezone

from examples.payments import scorer
from examples.payments.initiating import initiate_payment
from examples.payments.ledger import MERCHANTS, deposit
from examples.payments.models import Account, Payment
from examples.sampling.flow import Flow

SOURCE = "sample"
ACCOUNTS = tuple(f"AC-{number:03}" for number in range(1, 25))
PENNILESS, WRONG_MERCHANT, OLD_TERMINAL = "AC-100", "AC-113", "AC-117"
"""Accounts of their own for what fails. The last two are blocked by their dead letters until somebody repairs them."""
CLOSED_SHOP = "M-VIDEO-RENTAL"
_PAYDAY_EVERY = 200

FAILURES: dict[str, tuple[dict[str, Any], int]] = {
    "stolen_device": ({"device": scorer.STOLEN}, 30),
    "too_much": ({"amount_cents": 740_000}, 10),
    "no_money": ({"account": PENNILESS, "amount_cents": 490_000}, 20),
    "slow_scorer": ({"device": scorer.SLOW}, 30),
    "closed_shop": ({"account": WRONG_MERCHANT, "merchant": CLOSED_SHOP}, 2),
    "old_terminal": ({"account": OLD_TERMINAL, "country": "AN"}, 2),
}
"""Ways to fail and how often each is chosen: the first three are business as usual, the slow scorer heals by
retrying, the others end as dead letters that hold what comes after them in their account."""


@dataclass(frozen=True)
class PaymentMaker:
    """Makes payment number n of a seed, whatever was made before it."""

    seed: int
    failing_share: float = 0.1

    def draft(self, number: int, *, failure: str | None = None) -> dict[str, Any]:
        """Return the payment; ``failure`` forces a way to fail, "" forbids it, None lets the dice decide."""
        dice = random.Random(f"{self.seed}-{number}")
        payment = {
            "account": dice.choice(ACCOUNTS),
            "merchant": dice.choice(sorted(MERCHANTS)),
            "amount_cents": dice.randrange(150, 12_000),
            "country": dice.choice(("CH", "DE", "DE", "FR", "GB", "NL", "SE")),
            "device": scorer.KNOWN,
        }
        if failure is None:
            failure = _choose(dice) if dice.random() < self.failing_share else ""
        return {**payment, **(FAILURES[failure][0] if failure else {})}


def traffic() -> Iterator[None]:
    """Initiate a payment with every step; the first shows every way to fail on an empty console."""
    maker = PaymentMaker(seed=random.SystemRandom().getrandbits(48))
    opening = _opening()
    for number in count():
        if number % _PAYDAY_EVERY == 0:
            pay_salaries()
        failure = opening[number] if number < len(opening) else None
        place(maker.draft(number, failure=failure))
        if number + 1 >= len(opening):
            yield


def pay_salaries() -> None:
    """Fill the accounts up."""
    for account in (*ACCOUNTS, WRONG_MERCHANT, OLD_TERMINAL):
        deposit(account, 250_000)
    if not Account.objects.filter(id=PENNILESS).exists():
        deposit(PENNILESS, 42)


def place(draft: dict[str, Any]) -> None:
    initiate_payment(**draft, source=SOURCE)


def _opening() -> list[str]:
    recent = Payment.objects.filter(source=SOURCE, initiated_at__gt=timezone.now() - timedelta(minutes=10))
    return [] if recent.exists() else ["", *FAILURES, "closed_shop", ""]


def _choose(dice: random.Random) -> str:
    weights = [weight for _, weight in FAILURES.values()]
    return dice.choices(list(FAILURES), weights)[0]


PAYMENTS = Flow(name="payments", what="payments", seconds_between=1, traffic=traffic)
