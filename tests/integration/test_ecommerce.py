"""The order flow from HTTP to the mail, on a real database, delivered in this process."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest
from django.test import Client

from examples.ecommerce.billing.card_provider import UnknownCurrency
from examples.ecommerce.billing.consumers import charge_card
from examples.ecommerce.billing.models import Charge
from examples.ecommerce.events import OrderCancelled, OrderConfirmed, StockReserved
from examples.ecommerce.inventory.models import Reservation, StockItem
from examples.ecommerce.inventory.stock import FULL_SHELF
from examples.ecommerce.load import DirectClient, Load
from examples.ecommerce.notification import consumers as notification
from examples.ecommerce.notification.consumers import send_email
from examples.ecommerce.notification.models import Notification
from examples.ecommerce.orders.models import Order
from examples.ecommerce.traffic import FAILURES, OrderMaker
from examples.sampling import running, switch
from messaging.ingest import ingest
from messaging.models import Message
from messaging.operations import command_line, replay_dead_letters, resubmit_dead_letter
from messaging.queries.dead_letters import get_dead_letter
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from messaging.verification import verify
from tests.shop import dead_letters, draft, let_retries_come_due, post, state_of

pytestmark = pytest.mark.django_db(transaction=True)
ANA = command_line("ana")


@pytest.fixture(autouse=True)
def _consumers() -> None:
    synchronise()


def resubmit(harness: Harness, order_id: uuid.UUID, **changes: Any) -> None:
    [dead] = dead_letters(order_id)
    detail = get_dead_letter(dead.id)
    assert detail is not None
    body = json.dumps({**json.loads(detail.body), **changes})
    resubmit_dead_letter(id=dead.id, body=body, actor=ANA, reason="repaired")
    harness.finish()


class TestPlaceOrder:
    def test_saves_the_order_and_publishes_its_event(self) -> None:
        order_id = post(draft())
        assert state_of(order_id) == "placed"
        message = Message.objects.get(type="ecommerce.OrderPlaced")
        assert message.key == str(order_id)
        assert json.loads(bytes(message.body))["order_id"] == str(order_id)

    def test_takes_the_same_order_once(self) -> None:
        post(draft())
        again = Client().post("/shop/orders", draft(), content_type="application/json")
        assert again.status_code == 200
        assert Message.objects.count() == 1

    def test_refuses_another_order_under_the_same_id(self) -> None:
        post(draft())
        other = Client().post("/shop/orders", draft(currency="SEK"), content_type="application/json")
        assert (other.status_code, other.json()["field"]) == (409, "order_id")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"items": []}, "items"),
            ({"items": [{"sku": "MUG-BLUE", "quantity": 0, "unit_price": "1"}]}, "items[0].quantity"),
            ({"items": [{"sku": "MUG-BLUE", "quantity": 1, "unit_price": "NaN"}]}, "items[0].unit_price"),
            ({"items": [{"sku": "A", "quantity": 100, "unit_price": "9999999999"}]}, "items"),
            ({"customer_email": "nobody\x00@example.com"}, "customer_email"),
            ({"currency": "euro"}, "currency"),
            ({"order_id": "1"}, "order_id"),
            ({"discount": 5}, "discount"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, changes: dict[str, Any], field: str) -> None:
        response = Client().post("/shop/orders", draft(**changes), content_type="application/json")
        assert (response.status_code, response.json()["field"]) == (422, field)
        assert not Order.objects.exists()
        assert not Message.objects.exists()

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"\xff"', b"[" * 100_000, b'{"currency": "\\ud800"}'])
    def test_answers_4xx_to_what_is_no_order(self, body: bytes) -> None:
        response = Client().post("/shop/orders", body, content_type="application/json")
        assert 400 <= response.status_code < 500
        assert response["Content-Type"] == "application/problem+json"

    def test_says_that_an_order_is_unknown(self) -> None:
        assert Client().get(f"/shop/orders/{uuid.uuid4()}").status_code == 404


class TestOrderFlow:
    def test_confirms_an_order_that_is_reserved_and_paid(self, harness: Harness) -> None:
        order_id = post(draft())
        harness.finish()
        assert state_of(order_id) == "confirmed"
        assert Charge.objects.get(order_id=order_id).state == "captured"
        assert Notification.objects.get(order_id=order_id).kind == "confirmed"
        assert verify().is_sound

    def test_is_one_flow_with_its_causes(self, harness: Harness) -> None:
        post(draft())
        harness.finish()
        messages = list(Message.objects.order_by("id"))
        assert [m.type.removeprefix("ecommerce.") for m in messages] == [
            "OrderPlaced", "StockReserved", "PaymentProcessed", "OrderConfirmed",
        ]  # fmt: skip
        assert len({m.correlation_id for m in messages}) == 1
        assert [m.causation_id for m in messages[1:]] == [str(m.id) for m in messages[:-1]]

    def test_gives_the_goods_back_when_the_card_is_declined(self, harness: Harness) -> None:
        order_id = post(draft("declined"))
        harness.finish()
        assert state_of(order_id) == "cancelled"
        assert Reservation.objects.get(order_id=order_id).released_at is not None
        assert not StockItem.objects.filter(received=FULL_SHELF).exclude(available=FULL_SHELF).exists()
        assert Notification.objects.get(order_id=order_id).kind == "cancelled"
        assert verify().is_sound

    def test_cancels_an_order_that_is_sold_out_and_holds_nothing_for_it(self, harness: Harness) -> None:
        order_id = post(draft("sold_out"))
        harness.finish()
        assert state_of(order_id) == "cancelled"
        assert not Reservation.objects.exists()
        assert not Charge.objects.exists()
        assert verify().is_sound

    def test_charges_once_when_the_gateway_answers_late(self, harness: Harness) -> None:
        order_id = post(draft("slow_gateway"))
        harness.run()
        harness.retrying(StockReserved, by=charge_card, order_id=order_id)
        harness.published(OrderConfirmed, times=0)
        harness.advance("5s")
        harness.published(OrderConfirmed, times=1, order_id=order_id)
        assert Charge.objects.count() == 1

    def test_charges_once_when_the_process_dies_between_the_charge_and_its_note(self, harness: Harness) -> None:
        harness.fail(charge_card, after=True)
        order_id = post(draft())
        harness.finish()
        harness.consumed(StockReserved, by=charge_card, times=1)
        assert Charge.objects.filter(order_id=order_id).count() == 1

    def test_takes_the_bank_for_granted_where_only_the_mail_matters(self, harness: Harness) -> None:
        mails = harness.replace(send_email)
        post(draft("declined"))
        harness.finish()
        [cancelled] = mails.calls
        assert isinstance(cancelled, OrderCancelled)
        assert not Notification.objects.exists()

    def test_is_repaired_by_a_copy_with_a_known_currency(self, harness: Harness) -> None:
        order_id = post(draft("unknown_currency"))
        harness.finish()
        [letter] = harness.dead_lettered(StockReserved, by=charge_card, reason="permanent", error=UnknownCurrency)
        assert letter.attempts == 1
        assert verify().is_sound
        resubmit(harness, order_id, currency="EUR")
        assert state_of(order_id) == "confirmed"
        assert not dead_letters(order_id)
        assert verify().is_sound

    def test_is_repaired_by_a_copy_without_the_retired_article(self, harness: Harness) -> None:
        order_id = post(draft("retired_article"))
        harness.finish()
        assert not Reservation.objects.exists()
        resubmit(harness, order_id, items=[{"sku": "MUG-BLUE", "quantity": 1, "unit_price": "11.50"}])
        assert state_of(order_id) == "confirmed"
        assert verify().is_sound

    def test_is_repaired_by_a_deploy_and_a_replay(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        order_id = post(draft("untranslated"))
        harness.finish()
        [dead] = dead_letters(order_id)
        assert (dead.error_type.split(".")[-1], dead.reason) == ("KeyError", "exhausted")
        monkeypatch.setitem(notification.SUBJECTS, "it", {"confirmed": "Il tuo ordine è confermato", "cancelled": "-"})
        replay_dead_letters(ids=[dead.id], actor=ANA, reason="Italian is written")
        harness.finish()
        assert Notification.objects.get(order_id=order_id).subject == "Il tuo ordine è confermato"
        assert verify().is_sound

    def test_reads_version_1_as_euros_and_keeps_an_order_from_outside(self, harness: Harness) -> None:
        old = draft()
        old |= {"total": "12.50"}
        del old["currency"]
        line = {"type": "ecommerce.OrderPlaced", "version": 1, "id": "old-1", "data": old}
        received = ingest(
            json.dumps(line).encode(), content_type="application/json", source="archive", headers={}, strict=True
        )
        assert received.outcome == "accepted"
        harness.finish()
        order = Order.objects.get(id=old["order_id"])
        assert (order.state, order.currency, order.source) == ("confirmed", "EUR", "outside")

    def test_never_promises_more_than_there_is(self, harness: Harness) -> None:
        StockItem.objects.filter(sku="MUG-BLUE").update(received=5, available=5)
        items = [{"sku": "MUG-BLUE", "quantity": 2, "unit_price": "1.00"}]
        orders = [post(draft(number=n, items=items)) for n in range(4)]
        harness.finish()
        assert sorted(state_of(order) for order in orders) == ["cancelled", "cancelled", "confirmed", "confirmed"]
        assert StockItem.objects.get(sku="MUG-BLUE").available == 1
        assert verify().is_sound


class TestTraffic:
    def test_makes_the_same_orders_from_the_same_seed(self) -> None:
        orders = [OrderMaker(seed=7).draft(n) for n in range(50)]
        assert orders == [OrderMaker(seed=7).draft(n) for n in range(50)]
        assert len({order["order_id"] for order in orders}) == 50

    def test_ends_in_order_whatever_fails(self) -> None:
        maker = OrderMaker(seed=3, failing_share=0.5)
        load = Load(maker=maker, connect=DirectClient, rate=0, seconds=0, orders=60, clients=1)
        assert load.run().accepted == 60
        let_retries_come_due()
        assert verify().is_sound
        assert load.maker.draft(0)["order_id"] in {str(order.id) for order in Order.objects.all()}

    def test_places_nothing_twice_when_a_run_is_repeated(self) -> None:
        for expected in ("accepted", "existing"):
            load = Load(maker=OrderMaker(seed=3), connect=DirectClient, rate=0, seconds=0, orders=10, clients=2)
            assert getattr(load.run(), expected) == 10
        assert Order.objects.count() == 10


class TestSampleTraffic:
    def test_begins_with_every_way_to_fail_and_stops_at_the_switch(self) -> None:
        stop = threading.Event()
        switch.set_running("ecommerce", True, by="ana")
        thread = threading.Thread(target=running.run, args=[stop])
        thread.start()
        try:
            for _ in range(400):
                if Order.objects.filter(source="sample").count() >= len(FAILURES):
                    break
                stop.wait(0.05)
            switch.set_running("ecommerce", False, by="ana")
        finally:
            stop.set()
            thread.join(10)
        assert not thread.is_alive()
        assert not switch.running()
        assert Order.objects.filter(source="sample", currency="XXX").exists()
        assert Message.objects.filter(type="ecommerce.OrderPlaced").first().source == "sample"  # type: ignore[union-attr]

    def test_stays_off_unless_somebody_turns_it_on(self) -> None:
        assert not switch.running()
        switch.set_running("ecommerce", True, by="ana")
        [flow] = [each for each in switch.status() if each.name == "ecommerce"]
        assert flow.started_at is not None
