"""Payments from their initiation to the notice, on a real database: in order per account, each booked once."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from examples.payments.consumers import book_entry, check_fraud, confirm
from examples.payments.events import (
    FraudCheckCompleted,
    LedgerEntryRecorded,
    PaymentConfirmed,
    PaymentInitiated,
    PaymentRejected,
)
from examples.payments.initiating import initiate_payment
from examples.payments.ledger import UnknownAccount, UnknownMerchant, deposit
from examples.payments.models import Account, JournalEntry, JournalLine, Notice, Payment
from examples.payments.sample import CLOSED_SHOP, PaymentMaker, pay_salaries, place
from examples.payments.scorer import SLOW, STOLEN
from messaging.ids import new_id
from messaging.models import Message
from messaging.operations import command_line, replay_dead_letters, resubmit_dead_letter
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from messaging.verification import verify

pytestmark = pytest.mark.django_db(transaction=True)
ANA = command_line("ana")
ADA, BEN = "AC-001", "AC-002"


@pytest.fixture(autouse=True)
def _accounts() -> None:
    synchronise()
    for account in (ADA, BEN):
        deposit(account, 100_00)


def pay(cents: int = 10_00, *, account: str = ADA, **changes: Any) -> UUID:
    given = {"merchant": "M-BOOKS", "country": "DE", "device": "dev_known", **changes}
    return initiate_payment(account=account, amount_cents=cents, **given)


def state_of(payment: UUID) -> str:
    return Payment.objects.get(id=payment).state


def booked(account: str = ADA) -> list[UUID]:
    """Return the payments of an account in the order of the ledger."""
    entries = JournalEntry.objects.filter(account_id=account, payment_id__isnull=False)
    return [payment for payment in entries.order_by("number").values_list("payment_id", flat=True) if payment]


def balance(account: str = ADA) -> int:
    return Account.objects.get(id=account).balance_cents


class TestPayment:
    def test_is_scored_booked_confirmed_and_told(self, harness: Harness) -> None:
        payment = pay(42_10)
        harness.finish()
        assert state_of(payment) == "confirmed"
        assert balance() == 57_90
        harness.published(PaymentConfirmed, times=1, payment_id=payment, balance_cents=57_90)
        assert Notice.objects.get(payment_id=payment).text == "You paid 42.10 to M-BOOKS."
        assert verify().is_sound

    def test_has_two_lines_that_cancel_out(self, harness: Harness) -> None:
        payment = pay(42_10)
        harness.finish()
        lines = JournalLine.objects.filter(entry__payment_id=payment).values_list("book", "amount_cents")
        assert sorted(lines) == [(ADA, -42_10), ("M-BOOKS", 42_10)]

    def test_is_taken_once_under_its_id(self, harness: Harness) -> None:
        payment = new_id()
        for _ in range(2):
            pay(payment_id=payment)
        harness.finish()
        harness.published(PaymentInitiated, times=1)
        assert balance() == 90_00

    def test_is_refused_for_an_account_that_nobody_opened(self) -> None:
        with pytest.raises(UnknownAccount, match="AC-999"):
            pay(account="AC-999")
        assert not Message.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"device": STOLEN}, "the device was reported stolen"),
            ({"cents": 5001_00}, "more than 5000 at once"),
            ({"cents": 100_01}, "not enough money in the account"),
        ],
    )
    def test_is_rejected_and_nothing_is_booked(self, harness: Harness, changes: dict[str, Any], reason: str) -> None:
        payment = pay(**changes)
        harness.finish()
        harness.published(PaymentRejected, times=1, reason=reason)
        assert (state_of(payment), booked(), balance()) == ("rejected", [], 100_00)
        assert reason in Notice.objects.get(payment_id=payment).text
        assert verify().is_sound


class TestLedger:
    def test_books_in_the_order_of_the_account_while_a_check_is_slow(self, harness: Harness) -> None:
        first, second = pay(device=SLOW), pay()
        other = pay(account=BEN)
        harness.run()
        harness.retrying(PaymentInitiated, by=check_fraud, payment_id=first)
        assert booked() == []
        assert booked(BEN) == [other]
        harness.finish()
        assert booked() == [first, second]
        assert verify().is_sound

    def test_lets_an_earlier_payment_spend_first(self, harness: Harness) -> None:
        harness.fail(book_entry, times=3)
        first, second = pay(80_00), pay(80_00)
        harness.finish()
        assert (state_of(first), state_of(second)) == ("confirmed", "rejected")

    def test_books_once_when_a_process_dies_after_its_work(self, harness: Harness) -> None:
        for handler in (check_fraud, book_entry, confirm):
            harness.fail(handler, after=True)
        payment = pay()
        harness.finish()
        assert booked() == [payment]
        harness.published(LedgerEntryRecorded, times=1)
        harness.published(PaymentConfirmed, times=1)
        assert balance() == 90_00
        assert verify().is_sound

    def test_holds_the_account_behind_an_unknown_merchant_until_a_copy_repairs_it(self, harness: Harness) -> None:
        broken, later = pay(merchant=CLOSED_SHOP), pay()
        other = pay(account=BEN)
        harness.finish()
        [letter] = harness.dead_lettered(FraudCheckCompleted, by=book_entry, reason="permanent", error=UnknownMerchant)
        assert (booked(), booked(BEN)) == ([], [other])
        assert verify().is_sound

        body = json.loads(bytes(Message.objects.get(id=letter.message_id).body))
        corrected = json.dumps({**body, "merchant": "M-CINEMA"})
        resubmit_dead_letter(id=letter.id, body=corrected, actor=ANA, reason="the shop has a new owner")
        harness.finish()
        assert booked() == [broken, later]
        assert verify().is_sound

    def test_keeps_the_order_over_a_bug_that_a_deploy_mends(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken, later = pay(country="AN"), pay()
        harness.finish()
        [letter] = harness.dead_lettered(PaymentInitiated, by=check_fraud, reason="exhausted", error=KeyError)
        assert booked() == []
        monkeypatch.setitem(check_fraud.__globals__["scorer"]._RISK, "AN", 5)
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="AN is known again")
        harness.finish()
        assert booked() == [broken, later]
        assert verify().is_sound


class TestVerify:
    @pytest.mark.parametrize(
        ("damage", "word"),
        [
            (lambda: JournalLine.objects.filter(book="M-BOOKS").update(amount_cents=1), "cancel out"),
            (lambda: Account.objects.filter(id=ADA).update(balance_cents=1), "sum of its lines"),
            (lambda: Payment.objects.filter(number=1).update(number=9), "in the order"),
            (lambda: Payment.objects.update(state="rejected"), "not booked"),
            (lambda: Notice.objects.all().delete(), "told"),
        ],
    )
    def test_sees_a_broken_ledger(self, harness: Harness, damage: Any, word: str) -> None:
        for _ in range(2):
            pay()
        harness.finish()
        damage()
        broken = [each.name for each in verify().invariants if each.violations]
        assert any(word in name for name in broken)


class TestTraffic:
    def test_ends_in_order_whatever_fails(self, harness: Harness) -> None:
        pay_salaries()
        maker = PaymentMaker(seed=3, failing_share=0.5)
        for number in range(60):
            place(maker.draft(number))
        harness.finish()
        assert JournalEntry.objects.filter(payment_id__isnull=False).count() > 20
        assert verify().is_sound
