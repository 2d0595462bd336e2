"""A card provider, simulated: the card's token decides what happens, so that every failure can be repeated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal

CURRENCIES = frozenset({"CHF", "EUR", "GBP", "SEK", "USD"})
DECLINED, SLOW_GATEWAY, GOOD = "tok_declined", "tok_slow_gateway", "tok_visa"
TIMEOUTS = 3
"""The slow gateway answers after this many attempts failed."""


class UnknownCurrency(Exception):
    """The provider does not know the currency; it will not know it tomorrow."""


class GatewayTimeout(Exception):
    """The provider did not answer in time; whether it charged is unknown until asked again with the same key."""


@dataclass(frozen=True)
class Answer:
    authorization: str
    """Empty when declined."""
    decline_reason: str = ""


def charge(*, token: str, amount: Decimal, currency: str, idempotency_key: str, attempt: int) -> Answer:
    """Charge a card. The same idempotency key gets the same answer and is charged once.

    Raises:
        UnknownCurrency: never succeeds.
        GatewayTimeout: succeeds when tried again later.
    """
    if currency not in CURRENCIES:
        raise UnknownCurrency(f"Currency {currency!r} cannot be charged; use one of {', '.join(sorted(CURRENCIES))}.")
    if token == SLOW_GATEWAY and attempt <= TIMEOUTS:
        raise GatewayTimeout(f"No answer from the card gateway within 2 s ({amount} {currency}).")
    if token == DECLINED:
        return Answer(authorization="", decline_reason="insufficient funds")
    return Answer(authorization=_authorization(idempotency_key))


def refund(*, authorization: str, idempotency_key: str) -> str:
    """Pay a charge back and return the provider's reference. The same idempotency key pays back once."""
    return _authorization(f"{idempotency_key}-{authorization}")


def _authorization(idempotency_key: str) -> str:
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:12].upper()
