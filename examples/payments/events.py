"""The facts of a payment. Each bears the payer's account as its key: that is what the ledger is ordered by."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from messaging import Event, Sensitive

AccountId = Annotated[str, Field(pattern=r"^AC-[0-9]{3,12}$")]
MerchantId = Annotated[str, Field(pattern=r"^M-[A-Z0-9-]{1,30}$")]
Cents = Annotated[int, Field(gt=0, lt=10**12)]
"""Money is counted in whole cents: a ledger must not round."""
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Device = Annotated[str, Field(pattern=r"^dev_[a-z_]{1,40}$"), Sensitive("device")]


class PaymentInitiated(Event, version=1):
    """An account's holder asked to pay a merchant; nothing is checked or booked yet."""

    payment_id: UUID
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    country: Country
    device: Device


class FraudCheckCompleted(Event, version=1):
    """The scorer has spoken about a payment."""

    payment_id: UUID
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    decision: Literal["approved", "refused"]
    score: Annotated[int, Field(ge=0, le=100)]
    """Suspicion, 0 to 100."""
    reason: str = ""


class LedgerEntryRecorded(Event, version=1):
    """A payment is in the ledger: the account paid, the merchant got."""

    payment_id: UUID
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    entry_number: int
    """Of the account, from 1 and without gaps."""
    balance_cents: int
    """Of the account after it."""


class PaymentConfirmed(Event, version=1):
    """The payment is made."""

    payment_id: UUID
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    balance_cents: int


class PaymentRejected(Event, version=1):
    """The payment is not made; nothing was booked."""

    payment_id: UUID
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    reason: str
