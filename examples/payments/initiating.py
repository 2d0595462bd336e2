"""Taking a payment: its row and its event are saved in one transaction, numbered in the order of the commits."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from examples.payments.events import PaymentInitiated
from examples.payments.ledger import UnknownAccount
from examples.payments.models import Account, Payment
from messaging import publish
from messaging.ids import new_id


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
    """
    event = PaymentInitiated(
        payment_id=payment_id or new_id(),
        account=account,
        merchant=merchant,
        amount_cents=amount_cents,
        country=country,
        device=device,
    )
    with transaction.atomic():
        # The row stays locked until the commit, so a payment's number tells its place among the account's commits.
        if not Account.objects.filter(id=account).update(payments=F("payments") + 1):
            raise UnknownAccount(f"There is no account {account}; deposit something first.")
        if Payment.objects.filter(id=event.payment_id).exists():
            transaction.set_rollback(True)
            return event.payment_id
        Payment.objects.create(
            id=event.payment_id,
            account_id=account,
            merchant=merchant,
            amount_cents=event.amount_cents,
            source=source,
            number=Account.objects.values_list("payments", flat=True).get(id=account),
            initiated_at=timezone.now(),
        )
        publish(event, key=account, source=source or None)
    return event.payment_id
