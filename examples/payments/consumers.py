"""A payment's way: scored, booked in the order of its account, confirmed or rejected, and told."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from examples.payments import ledger, scorer
from examples.payments.events import (
    FraudCheckCompleted,
    LedgerEntryRecorded,
    PaymentConfirmed,
    PaymentInitiated,
    PaymentRejected,
)
from examples.payments.models import FraudCheck, Notice, Payment
from messaging import Context, Retry, consumer, publish

QUICK = Retry(immediate=2, delays=("5s", "30s"))


class PaymentAlreadySettled(Exception):
    """The payment ended the other way before."""


@consumer(
    PaymentInitiated,
    guarantee="at_least_once",  # it calls out, and a call cannot be rolled back
    ordered=True,  # an order that was lost here could not be found again by the ledger
    retry=QUICK,
)
def check_fraud(event: PaymentInitiated, context: Context) -> None:
    """Ask the scorer, and tell what it said."""
    if FraudCheck.objects.filter(payment_id=event.payment_id).exists():
        return  # the process died after the commit below and before the bus noted it
    verdict = scorer.score(
        amount_cents=event.amount_cents, country=event.country, device=event.device, attempt=context.attempt
    )
    decision = "refused" if verdict.reason else "approved"
    with transaction.atomic():
        FraudCheck.objects.create(
            payment_id=event.payment_id,
            decision=decision,
            score=verdict.score,
            reason=verdict.reason,
            checked_at=timezone.now(),
        )
        publish(
            FraudCheckCompleted(
                payment_id=event.payment_id,
                account=event.account,
                merchant=event.merchant,
                amount_cents=event.amount_cents,
                decision=decision,
                score=verdict.score,
                reason=verdict.reason,
            ),
            key=event.account,
        )


@consumer(
    FraudCheckCompleted,
    guarantee="exactly_once",
    ordered=True,
    on_failure="block",  # a later payment must not spend what an earlier one is entitled to
    filter={"decision": ["approved"]},
    retry=QUICK,
)
def book_entry(event: FraudCheckCompleted, context: Context) -> None:
    """Book an approved payment, or reject it when the account has not enough."""
    if ledger.is_booked(event.payment_id):
        return  # a replay of what was handled
    booked = ledger.pay(
        payment_id=event.payment_id, account=event.account, merchant=event.merchant, cents=event.amount_cents
    )
    if booked is None:
        _reject(event, "not enough money in the account")
        return
    publish(
        LedgerEntryRecorded(
            payment_id=event.payment_id,
            account=event.account,
            merchant=event.merchant,
            amount_cents=event.amount_cents,
            entry_number=booked.entry_number,
            balance_cents=booked.balance_cents,
        ),
        key=event.account,
    )


@consumer(FraudCheckCompleted, filter={"decision": ["refused"]}, retry=QUICK)
def refuse(event: FraudCheckCompleted, context: Context) -> None:
    """Reject a payment that the scorer found suspicious; the ledger never sees it."""
    _reject(event, event.reason)


@consumer(LedgerEntryRecorded, retry=QUICK)
def confirm(event: LedgerEntryRecorded, context: Context) -> None:
    """Confirm a payment that is booked."""
    if _settle(event, Payment.State.CONFIRMED):
        publish(
            PaymentConfirmed(
                payment_id=event.payment_id,
                account=event.account,
                merchant=event.merchant,
                amount_cents=event.amount_cents,
                balance_cents=event.balance_cents,
            ),
            key=event.account,
        )


@consumer(PaymentConfirmed, PaymentRejected, retry=QUICK)
def notify(event: PaymentConfirmed | PaymentRejected, context: Context) -> None:
    """Tell the account's holder, once per payment."""
    if Notice.objects.filter(payment_id=event.payment_id).exists():
        return
    kind, text = "confirmed", f"You paid {event.amount_cents / 100:.2f} to {event.merchant}."
    if isinstance(event, PaymentRejected):
        kind, text = "rejected", f"You did not pay {event.amount_cents / 100:.2f} to {event.merchant}: {event.reason}."
    Notice.objects.create(payment_id=event.payment_id, kind=kind, text=text[:300], sent_at=timezone.now())


def _reject(event: FraudCheckCompleted, reason: str) -> None:
    if _settle(event, Payment.State.REJECTED, reason):
        publish(
            PaymentRejected(
                payment_id=event.payment_id,
                account=event.account,
                merchant=event.merchant,
                amount_cents=event.amount_cents,
                reason=reason,
            ),
            key=event.account,
        )


def _settle(event: FraudCheckCompleted | LedgerEntryRecorded, state: Payment.State, reason: str = "") -> bool:
    """Move the payment to its final state; False when it is there already (the message was replayed)."""
    is_settled = Payment.objects.filter(id=event.payment_id, state=Payment.State.INITIATED).update(
        state=state, reason=reason[:200], settled_at=timezone.now()
    )
    if is_settled:
        return True
    if not Payment.objects.filter(id=event.payment_id, state=state).exists():
        raise PaymentAlreadySettled(f"Payment {event.payment_id} is not known, or not {state} as it ended before.")
    return False
