"""The ledger, by double entry: every entry has two lines whose amounts cancel out."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from examples.payments.models import Account, JournalEntry, JournalLine
from messaging import PermanentError

MERCHANTS = frozenset({"M-BAKERY", "M-BOOKS", "M-CINEMA", "M-GROCER", "M-RAILWAY", "M-TELECOM"})
CLEARING = "clearing"
"""The other side of deposits: what the bank holds for its customers."""


class UnknownMerchant(PermanentError):
    """The merchant has no book in the ledger; a payment to it can only be corrected."""


class UnknownAccount(PermanentError):
    """There is no such account."""


@dataclass(frozen=True)
class Booked:
    entry_number: int
    balance_cents: int


def deposit(account: str, cents: int) -> Booked:
    """Open the account if it is new, and put money into it."""
    with transaction.atomic():
        Account.objects.get_or_create(id=account)
        booked = _move(account, cents, other_book=CLEARING, payment_id=None)
    assert booked is not None  # only paying can fail for want of money
    return booked


def pay(*, payment_id: UUID, account: str, merchant: str, cents: int) -> Booked | None:
    """Book a payment; None when the account has not enough.

    Raises:
        UnknownMerchant, UnknownAccount: never succeed.
    """
    if merchant not in MERCHANTS:
        raise UnknownMerchant(f"Merchant {merchant} has no book; one of {', '.join(sorted(MERCHANTS))} has.")
    with transaction.atomic():
        return _move(account, -cents, other_book=merchant, payment_id=payment_id)


def is_booked(payment_id: UUID) -> bool:
    """Say whether the payment is in the ledger."""
    return JournalEntry.objects.filter(payment_id=payment_id).exists()


def _move(account: str, cents: int, *, other_book: str, payment_id: UUID | None) -> Booked | None:
    # Only the payer's row is locked. A merchant's book is a sum of its lines, so that all of a merchant's customers
    # do not wait for one row, nor for each other in a circle.
    affordable = Account.objects.filter(id=account, balance_cents__gte=-cents)
    if not affordable.update(balance_cents=F("balance_cents") + cents, entries=F("entries") + 1):
        if not Account.objects.filter(id=account).exists():
            raise UnknownAccount(f"There is no account {account}.")
        return None
    balance, number = Account.objects.values_list("balance_cents", "entries").get(id=account)
    entry = JournalEntry.objects.create(
        account_id=account, number=number, payment_id=payment_id, booked_at=timezone.now()
    )
    sides = ((account, cents), (other_book, -cents))
    JournalLine.objects.bulk_create(JournalLine(entry=entry, book=book, amount_cents=amount) for book, amount in sides)
    return Booked(entry_number=number, balance_cents=balance)
