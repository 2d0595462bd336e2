"""verify finds what was lost, doubled or broken, and nothing else."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from examples.ecommerce.inventory.models import StockItem
from examples.ecommerce.notification.models import Notification
from messaging.ids import new_id
from messaging.models import Attempt, Delivery, Message
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from messaging.verification import Report, verify
from tests.shop import draft, let_retries_come_due, post

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _consumers() -> None:
    synchronise()


def outcomes(report: Report, consumer: str) -> Any:
    return next(each.outcomes for each in report.consumers if each.consumer == consumer)


def broken(report: Report) -> list[str]:
    return [each.name for each in report.invariants if each.violations]


def command(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("verify", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


class TestVerify:
    def test_counts_what_was_handled_and_what_is_dead(self) -> None:
        post(draft())
        post(draft("unknown_currency", number=2))
        let_retries_come_due()
        report = verify()
        assert report.is_sound
        billing = outcomes(report, "billing.charge_card")
        assert (billing.expected, billing.handled, billing.dead_lettered) == (2, 1, 1)
        [flow] = report.flows
        assert (flow.root, flow.flows, flow.published) == ("ecommerce.OrderPlaced", 2, 6)

    def test_counts_what_waits_in_the_outbox_and_in_delivery(self) -> None:
        post(draft("slow_gateway"))
        assert outcomes(verify(), "inventory.reserve_stock").waiting == 1
        run_until_idle()
        report = verify()
        assert (outcomes(report, "billing.charge_card").waiting, report.is_sound) == (1, True)

    def test_finds_a_lost_delivery(self) -> None:
        order_id = post(draft("slow_gateway"))
        run_until_idle()
        Delivery.objects.all().delete()
        report = verify()
        [lost] = report.lost
        assert lost.consumer == "billing.charge_card"
        assert lost.message_id == Message.objects.get(type="ecommerce.StockReserved", key=str(order_id)).id
        assert "ecommerce: every order is settled, on its way, or waits for a person" in broken(report)

    def test_finds_a_delivery_that_was_handled_twice_in_one_run(self) -> None:
        post(draft())
        let_retries_come_due()
        first = Attempt.objects.get(consumer="notification.send_email")
        Attempt.objects.bulk_create([_copy_of(first, run=2)])
        assert verify().is_sound  # a replay is a run of its own
        Attempt.objects.bulk_create([_copy_of(first, run=1)])
        [twice] = verify().duplicated
        assert (twice.message_id, twice.consumer) == (first.message_id, "notification.send_email")

    def test_finds_stock_that_does_not_add_up(self) -> None:
        StockItem.objects.filter(sku="MUG-BLUE").update(available=1)
        assert broken(verify()) == ["ecommerce: stock received, less what is held, is available"]

    def test_finds_a_customer_who_was_not_told(self) -> None:
        post(draft())
        let_retries_come_due()
        Notification.objects.all().delete()
        assert broken(verify()) == ["ecommerce: a confirmed order is reserved, charged its total, and notified"]

    def test_counts_only_messages_since_a_time(self) -> None:
        post(draft())
        let_retries_come_due()
        assert verify(since=timezone.now() + timedelta(minutes=1)).flows == ()
        assert verify(since=timezone.now() - timedelta(minutes=1)).flows[0].published == 4


class TestVerifyCommand:
    def test_exits_with_0_when_all_is_sound(self) -> None:
        post(draft())
        let_retries_come_due()
        code, text = command()
        assert code == 0
        assert "Sound" in text

    def test_exits_with_1_and_names_the_culprit(self) -> None:
        post(draft("slow_gateway"))
        run_until_idle()
        Delivery.objects.all().delete()
        code, text = command("--json")
        document = json.loads(text)
        assert (code, document["is_sound"]) == (1, False)
        assert document["lost"][0]["consumer"] == "billing.charge_card"

    def test_refuses_a_time_it_cannot_read(self) -> None:
        with pytest.raises(CommandError, match="--since 'yesterday' is not a time"):
            command("--since", "yesterday")


def _copy_of(attempt: Attempt, *, run: int) -> Attempt:
    return Attempt(
        id=new_id(), message_id=attempt.message_id, consumer=attempt.consumer, run=run, number=1, outcome="handled",
        started_at=attempt.started_at, duration_us=1, worker="test",
    )  # fmt: skip
