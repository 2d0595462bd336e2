"""The order flow as a saga, from HTTP to the mail: the ends of the choreographed one, and what each failure undoes."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from examples.ecommerce.billing import card_provider
from examples.ecommerce.billing import consumers as billing
from examples.ecommerce.billing.models import Charge
from examples.ecommerce.commands import ChargeCard, RefundCard, ReleaseStock, ReserveStock
from examples.ecommerce.events import OrderCancelled, OrderConfirmed, OrderPlaced, OrderSubmitted
from examples.ecommerce.inventory import consumers as inventory
from examples.ecommerce.inventory.models import Reservation, StockItem
from examples.ecommerce.inventory.stock import FULL_SHELF
from examples.ecommerce.notification.models import Notification
from examples.ecommerce.orders.fulfilment import OrderFulfilment
from examples.ecommerce.orders.models import Order
from examples.ecommerce.orders.placing import NewOrder, place_order
from examples.ecommerce.traffic import OrderMaker
from messaging import testing
from messaging.consumers import all_consumers
from messaging.models import Message
from messaging.operations import command_line, compensate_saga, complete_saga, fire_saga_timeout, resubmit_dead_letter
from messaging.queries.flow_kinds import flow_kinds
from messaging.queries.sagas import saga_detail
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from messaging.verification import verify
from tests.shop import dead_letters, draft, let_retries_come_due, post, state_of

pytestmark = pytest.mark.django_db
ANA = command_line("ana")
SAGA = "orders.OrderFulfilment"


OURS = [each.name for each in all_consumers() if each.handler.__module__.startswith("examples.ecommerce.")]


@pytest.fixture
def harness(db: None) -> Iterator[Harness]:
    """Deliver to the shop only: nobody else listens, and asking them all again and again takes time."""
    with testing.harness(consumers=OURS) as running:
        yield running


@pytest.fixture(autouse=True)
def _consumers() -> None:
    synchronise()


def submit(failure: str = "", **changes: Any) -> uuid.UUID:
    return post(draft(failure, form="orchestrated", **changes))


def is_shelf_full() -> bool:
    return not StockItem.objects.filter(received=FULL_SHELF).exclude(available=FULL_SHELF).exists()


class TestForm:
    def test_is_chosen_by_the_order_and_told(self) -> None:
        answer = Client().post("/shop/orders", draft(form="orchestrated"), content_type="application/json").json()
        assert (answer["form"], answer["state"]) == ("orchestrated", "placed")
        assert Message.objects.get().type == OrderSubmitted.contract_name

    def test_is_choreographed_unless_said_otherwise(self) -> None:
        post(draft())
        assert Message.objects.get().type == OrderPlaced.contract_name
        assert Order.objects.get().form == "choreographed"

    def test_is_part_of_what_was_ordered(self) -> None:
        post(draft())
        other = Client().post("/shop/orders", draft(form="orchestrated"), content_type="application/json")
        assert other.status_code == 409

    def test_must_be_one_of_two(self) -> None:
        other = Client().post("/shop/orders", draft(form="improvised"), content_type="application/json")
        assert (other.status_code, other.json()["field"]) == (422, "form")


class TestHappyPath:
    def test_confirms_an_order_that_is_reserved_and_paid(self, harness: Harness) -> None:
        order_id = submit()
        harness.finish()
        seen = harness.saga(OrderFulfilment, order_id, state="confirmed")
        assert (seen.completed, seen.undone, seen.pending) == (("stock", "payment"), (), ())
        assert state_of(order_id) == "confirmed"
        assert Charge.objects.get(order_id=order_id).state == "captured"
        assert Notification.objects.get(order_id=order_id).kind == "confirmed"
        assert verify().is_sound

    def test_is_one_flow_of_commands_and_answers(self, harness: Harness) -> None:
        submit()
        harness.finish()
        messages = [each for each in Message.objects.order_by("id") if not each.type.startswith("messaging.")]
        assert [each.type.removeprefix("ecommerce.") for each in messages] == [
            "OrderSubmitted", "ReserveStock", "StockHeld", "ChargeCard", "CardCharged", "OrderConfirmed",
        ]  # fmt: skip
        assert len({each.correlation_id for each in messages}) == 1

    def test_leaves_the_choreographed_services_alone(self, harness: Harness) -> None:
        submit()
        harness.finish()
        harness.published(OrderPlaced, times=0)
        harness.consumed(OrderConfirmed, times=1)

    def test_keeps_the_customer_out_of_what_is_shown(self, harness: Harness) -> None:
        order_id = submit()
        harness.finish()
        detail = saga_detail(saga=SAGA, correlation=str(order_id))
        assert detail is not None
        shown = json.dumps(detail.data, default=str) + "".join(str(each.changes) for each in detail.history)
        assert "@example.com" not in shown
        assert "tok_visa" not in shown


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is ordered and done to the bus before it runs, and how it must end."""

    what: str
    ends_in: str
    undone: tuple[str, ...] = ()
    failure: str = ""
    prepare: Callable[[Harness], object] = lambda harness: None


def _fail_release(harness: Harness) -> None:
    """Let the first three releases fail: the fourth is a delayed retry."""
    left = [3]

    def serve(command: ReserveStock | ReleaseStock, context: Any) -> None:
        if isinstance(command, ReleaseStock) and left[0]:
            left[0] -= 1
            raise ConnectionError("the warehouse does not answer")
        original(command, context)

    original = inventory.serve_saga
    harness.replace(inventory.serve_saga, serve)


CASES = (
    Case(what="goods sold out", failure="sold_out", ends_in="cancelled"),
    Case(what="card declined", failure="declined", ends_in="cancelled", undone=("stock",)),
    Case(
        what="billing is silent",
        prepare=lambda harness: harness.replace(billing.serve_saga),
        ends_in="cancelled",
        undone=("stock",),
    ),
    Case(
        what="billing dies after its work",
        prepare=lambda harness: harness.fail(billing.serve_saga, after=True),
        ends_in="confirmed",
    ),
    Case(
        what="declined, and the release fails first",
        failure="declined",
        prepare=_fail_release,
        ends_in="cancelled",
        undone=("stock",),
    ),
)
"""The whole picture of some failures; ``test_saga_failures`` has the ends of all."""


class TestFailures:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
    def test_end_in_their_stated_state_with_exactly_the_completed_steps_undone(
        self, harness: Harness, case: Case
    ) -> None:
        case.prepare(harness)
        order_id = submit(case.failure)
        harness.finish()
        seen = harness.saga(OrderFulfilment, order_id, state=case.ends_in)
        assert seen.is_ended
        assert seen.undone == case.undone
        assert state_of(order_id) == case.ends_in
        assert Notification.objects.get(order_id=order_id).kind == case.ends_in
        assert is_shelf_full() == (case.ends_in == "cancelled")
        assert Charge.objects.filter(state="captured").count() == (case.ends_in == "confirmed")
        assert verify().is_sound

    def test_timeout_tells_the_customer_what_was_waited_for(self, harness: Harness) -> None:
        harness.replace(billing.serve_saga)
        order_id = submit()
        harness.advance("14m")
        assert state_of(order_id) == "placed"
        assert verify().is_sound
        harness.advance("2m")
        assert Order.objects.get(id=order_id).cancel_reason == "no answer about the payment within 15m"
        harness.published(OrderCancelled, times=1, order_id=order_id)

    def test_charge_after_the_timeout_is_paid_back(self, harness: Harness) -> None:
        """An operator repairs a dead letter of billing when the order is cancelled already."""
        order_id = submit("unknown_currency")
        harness.finish()
        assert state_of(order_id) == "cancelled"
        [dead] = dead_letters(order_id)
        body = json.loads(bytes(Message.objects.get(id=dead.message_id).body))
        body = json.dumps({**body, "currency": "EUR"})
        resubmit_dead_letter(id=dead.id, body=body, actor=ANA, reason="it was euros")
        harness.finish()
        harness.published(RefundCard, times=1)
        assert Charge.objects.get(order_id=order_id).state == "refunded"
        assert harness.saga(OrderFulfilment, order_id, state="cancelled").undone == ("stock", "payment")
        harness.published(OrderCancelled, times=1)
        harness.published(OrderConfirmed, times=0)
        assert Notification.objects.count() == 1
        assert verify().is_sound

    def test_goods_held_after_the_timeout_are_given_back(self, harness: Harness) -> None:
        order_id = submit("retired_article")
        harness.finish()
        [dead] = dead_letters(order_id)
        items = [{"sku": "MUG-BLUE", "quantity": 1, "unit_price": "11.50"}]
        body = json.dumps({"order_id": str(order_id), "items": items})
        resubmit_dead_letter(id=dead.id, body=body, actor=ANA, reason="blue will do")
        harness.finish()
        assert Reservation.objects.get(order_id=order_id).released_at is not None
        assert is_shelf_full()
        assert verify().is_sound

    def test_repaired_in_time_is_confirmed(self, harness: Harness) -> None:
        order_id = submit("unknown_currency")
        harness.advance("1m")
        [dead] = harness.dead_lettered(ChargeCard, by=billing.serve_saga, error=card_provider.UnknownCurrency)
        body = json.loads(bytes(Message.objects.get(id=dead.message_id).body))
        body = json.dumps({**body, "currency": "EUR"})
        resubmit_dead_letter(id=dead.id, body=body, actor=ANA, reason="it was euros")
        harness.finish()
        assert state_of(order_id) == "confirmed"

    def test_refusal_after_the_timeout_changes_nothing(self, harness: Harness) -> None:
        harness.fail(billing.serve_saga, times=3, error=card_provider.GatewayTimeout)
        order_id = submit("declined")
        harness.run()
        fire_saga_timeout(saga=SAGA, correlation=str(order_id), timeout="too_slow", actor=ANA, reason="the shop closes")
        harness.run()
        harness.finish()
        seen = harness.saga(OrderFulfilment, order_id, state="cancelled")
        assert seen.history[-1].kind == "ignored"
        assert not dead_letters(order_id)
        assert verify().is_sound


class TestOperator:
    def test_compensates_and_the_customer_hears_of_it(self, harness: Harness) -> None:
        harness.replace(billing.serve_saga)
        order_id = submit()
        harness.run()
        compensate_saga(saga=SAGA, correlation=str(order_id), actor=ANA, reason="the customer called")
        harness.finish()
        assert harness.saga(OrderFulfilment, order_id, state="cancelled").undone == ("stock",)
        assert Order.objects.get(id=order_id).cancel_reason == "cancelled by hand"
        assert Notification.objects.get(order_id=order_id).kind == "cancelled"
        assert verify().is_sound

    def test_completes_what_was_done_by_phone(self, harness: Harness) -> None:
        harness.replace(billing.serve_saga)
        order_id = submit()
        harness.run()
        complete_saga(saga=SAGA, correlation=str(order_id), to="confirmed", actor=ANA, reason="paid in the shop")
        harness.finish()
        assert state_of(order_id) == "confirmed"
        harness.published(OrderConfirmed, times=1)


class TestTogether:
    def test_both_forms_keep_what_verify_checks(self) -> None:
        maker = OrderMaker(seed=5, failing_share=0.5, orchestrated_share=0.5)
        for number in range(16):
            place_order(NewOrder.model_validate(maker.draft(number)))
        let_retries_come_due()
        assert verify().is_sound
        assert {(order.form, order.state) for order in Order.objects.all()} >= {
            ("choreographed", "confirmed"), ("choreographed", "cancelled"),
            ("orchestrated", "confirmed"), ("orchestrated", "cancelled"),
        }  # fmt: skip

    def test_share_changes_nothing_else_about_an_order(self) -> None:
        plain, mixed = OrderMaker(seed=7), OrderMaker(seed=7, orchestrated_share=0.5)
        drafts = [mixed.draft(n) for n in range(40)]
        assert {draft.pop("form", "choreographed") for draft in drafts} == {"choreographed", "orchestrated"}
        assert drafts == [plain.draft(n) for n in range(40)]


class TestCost:
    @pytest.mark.parametrize(
        ("column", "form", "failure"),
        [
            (0, "choreographed", ""), (1, "orchestrated", ""),
            (2, "choreographed", "declined"), (3, "orchestrated", "declined"),
        ],
    )  # fmt: skip
    def test_is_what_the_documentation_says(self, harness: Harness, column: int, form: str, failure: str) -> None:
        page = (Path(__file__).resolve().parents[2] / "docs" / "choreography-and-orchestration.md").read_text()
        said = {row.split(" | ")[0]: row.split(" | ")[1:] for row in re.findall(r"^\| (.+) \|$", page, re.MULTILINE)}
        post(draft(failure, form=form))
        harness.finish()
        [kind] = flow_kinds(since=harness.now - timedelta(hours=1)).kinds
        found = f"{kind.messages:.0f}", f"{kind.handlings:.0f}"
        assert found == (said["messages"][column], said["runs of handlers"][column])


class TestVerify:
    @pytest.mark.parametrize(
        ("damage", "word"),
        [
            (lambda: Charge.objects.update(state="refunded"), "charged its total"),
            (lambda: Order.objects.update(state="cancelled"), "every charge is refunded"),
            (lambda: Order.objects.update(state="placed"), "every charge is refunded"),
            (lambda: Reservation.objects.all().delete(), "received, less what is held"),
        ],
    )
    def test_sees_what_is_wrong(self, harness: Harness, damage: Callable[[], object], word: str) -> None:
        submit()
        harness.finish()
        damage()
        assert any(word in each.name for each in verify().invariants if each.violations)
