"""One order placed over HTTP is one connected trace: request, outbox, relay, consumers, retries, saga, mail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from messaging.models import Message
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from tests.shop import draft
from tests.traced import attribute, context_of, named, trace_of, without_parent

pytestmark = pytest.mark.django_db(transaction=True)
BROWSER = f"00-{'a' * 32}-{'b' * 16}-01"
FORMS = {
    "choreographed": {"inventory.reserve_stock", "billing.charge_card", "orders.confirm_order"},
    "orchestrated": {"inventory.serve_saga", "billing.serve_saga", "orders.OrderFulfilment"},
}


@pytest.fixture
def placed(spans: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """The spans of requests too, as the web process makes them."""
    synchronise()
    instrumentor = DjangoInstrumentor()
    instrumentor.instrument(tracer_provider=trace.get_tracer_provider())
    yield spans
    instrumentor.uninstrument()


def order(form: str, harness: Harness) -> None:
    """Place an order whose payment needs several attempts, and let all that follows happen."""
    answer = Client(headers={"traceparent": BROWSER}).post(
        "/shop/orders", draft("slow_gateway", form=form), content_type="application/json"
    )
    assert answer.status_code == 201, answer.content
    harness.finish()


def outcomes(spans: InMemorySpanExporter) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for span in named(spans, "process "):
        consumer = str(attribute(span, "messaging.consumer.group.name"))
        found.setdefault(consumer, []).append(attribute(span, "signalbox.outcome"))
    return found


def ids(found: list[ReadableSpan]) -> set[int]:
    return {span.context.span_id for span in found if span.context}


@pytest.mark.parametrize("form", FORMS)
class TestOneOrder:
    def test_is_one_trace_of_the_browsers_request(
        self, harness: Harness, placed: InMemorySpanExporter, form: str
    ) -> None:
        order(form, harness)
        own = int(BROWSER[3:35], 16)
        assert {context_of(message)[0] for message in Message.objects.all()} == {own}
        assert without_parent(placed, own) == ["POST shop/orders"]
        [request] = named(placed, "POST")
        assert request.parent is not None
        assert request.parent.span_id == int(BROWSER[36:52], 16)

    def test_shows_every_message_published_and_relayed(
        self, harness: Harness, placed: InMemorySpanExporter, form: str
    ) -> None:
        order(form, harness)
        own = int(BROWSER[3:35], 16)
        produced = ids([*named(placed, "publish "), *named(placed, "send "), *named(placed, "reply ")])
        relayed = {span.parent.span_id for span in named(placed, "relay") if span.parent and trace_of(span) == own}
        sent = {context_of(message)[1] for message in Message.objects.all()}
        assert sent == produced
        # A timeout that was taken back was never relayed.
        assert relayed == {context_of(message)[1] for message in Message.objects.exclude(type="messaging.SagaTimedOut")}

    def test_shows_each_consumer_with_its_retries_to_the_last_mail(
        self, harness: Harness, placed: InMemorySpanExporter, form: str
    ) -> None:
        order(form, harness)
        found = outcomes(placed)
        assert set(found) >= FORMS[form] | {"notification.send_email"}
        [paying] = [tries for tries in found.values() if "retried" in tries]
        assert paying == ["retried"] * (len(paying) - 1) + ["handled"]
        assert len(named(placed, "retry ")) == len(paying) - 1 > 0
        assert found["notification.send_email"][-1] == "handled"

    def test_shows_the_way_of_its_saga(self, harness: Harness, placed: InMemorySpanExporter, form: str) -> None:
        order(form, harness)
        moves = named(placed, "move orders.OrderFulfilment")
        states = [attribute(span, "signalbox.saga.state_after") for span in moves]
        assert states == (["awaiting_stock", "awaiting_payment", "confirmed"] if form == "orchestrated" else [])
        handled = ids(named(placed, "process orders.OrderFulfilment"))
        assert {span.parent.span_id for span in moves if span.parent} <= handled
