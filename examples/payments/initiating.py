"""Taking a payment: its row and its event are saved in one transaction, numbered in the order of the commits."""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from examples.payments.events import PaymentInitiated
from examples.payments.ledger import UnknownAccount
from examples.payments.models import Account, Payment
from messaging import publish
from messaging.ids import new_id

_TAKEN = "{} belongs to another payment; make a new id."


class PaymentConflict(Exception):
    """A payment of this id exists with other content."""


def initiate_payment(
    *,
    account: str,
    merchant: str,
    amount_cents: int,
    country: str,
    device: str,
    payment_id: UUID | None = None,
    source: str = "",
) -> UUID:
    """Save a payment and publish PaymentInitiated; return its id. One that was taken before changes nothing.

    Raises:
        UnknownAccount: nobody opened it.
        PaymentConflict: the id was used for another payment.
    """
    event = PaymentInitiated(
        payment_id=payment_id or new_id(),
        account=account,
        merchant=merchant,
        amount_cents=amount_cents,
        country=country,
        device=device,
    )
    try:
        _save_and_publish(event, source)
    except IntegrityError:  # its id was taken meanwhile, under the lock of another account
        raise PaymentConflict(_TAKEN.format(event.payment_id)) from None
    return event.payment_id


def _save_and_publish(event: PaymentInitiated, source: str) -> None:
    with transaction.atomic():
        # The row stays locked until the commit, so a payment's number tells its place among the account's commits.
        if not Account.objects.filter(id=event.account).update(payments=F("payments") + 1):
            raise UnknownAccount(f"There is no account {event.account}; deposit something first.")
        if existing := Payment.objects.filter(id=event.payment_id).first():
            transaction.set_rollback(True)
            if (existing.account_id, existing.merchant, existing.amount_cents) != (
                event.account,
                event.merchant,
                event.amount_cents,
            ):
                raise PaymentConflict(_TAKEN.format(event.payment_id))
            return
        Payment.objects.create(
            id=event.payment_id,
            account_id=event.account,
            merchant=event.merchant,
            amount_cents=event.amount_cents,
            source=source,
            number=Account.objects.values_list("payments", flat=True).get(id=event.account),
            initiated_at=timezone.now(),
        )
        publish(event, key=event.account, source=source or None)
