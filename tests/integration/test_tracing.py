"""Trace context travels in every envelope; with a provider configured, spans hang together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from messaging import Context, PermanentError, publish, tracing
from messaging.models import Message
from messaging.operations import replay_dead_letters
from messaging.relay import Relay
from messaging.testing import run_until_idle
from messaging.tracing import parse
from tests.factories import ANA, DoorsOpened, TrainArrived, arrive, dead

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Configure a provider for one test; OpenTelemetry itself lets a process set it only once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("signalbox"))
    yield exporter
    provider.shutdown()


def named(spans: InMemorySpanExporter, start: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name.startswith(start)]


def context_of(message: Message) -> tuple[int, int]:
    return int(message.traceparent[3:35], 16), int(message.traceparent[36:52], 16)


def chain(event: TrainArrived, context: Context) -> None:
    with transaction.atomic():
        publish(DoorsOpened(train=event.train))


class TestTraceparent:
    def test_is_w3c_in_every_envelope_and_one_trace_for_a_flow(self, station: Any) -> None:
        station.declare(chain)
        arrive("ICE 1")
        run_until_idle()
        found = list(Message.objects.values_list("traceparent", flat=True))
        assert len(found) == 2
        assert all(parse(each) for each in found)
        assert len({each[3:35] for each in found}) == 1

    def test_of_two_flows_differs(self) -> None:
        arrive("ICE 1", "ICE 2")
        assert len({each[3:35] for each in Message.objects.values_list("traceparent", flat=True)}) == 2


class TestSpans:
    def test_of_publish_relay_and_process_are_made_and_connected(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        station.declare(chain)
        arrive("ICE 1")
        Relay().step()
        run_until_idle()
        first = Message.objects.get(type="tests.TrainArrived")
        follow_up = Message.objects.get(type="tests.DoorsOpened")
        [published, _] = named(spans, "publish")
        [processed] = named(spans, "process")
        assert named(spans, "relay")
        assert published.context is not None
        assert context_of(first) == (published.context.trace_id, published.context.span_id)
        assert processed.parent is not None
        assert processed.parent.span_id == published.context.span_id
        assert processed.context is not None
        assert context_of(follow_up)[0] == processed.context.trace_id == published.context.trace_id
        assert processed.attributes is not None
        assert processed.attributes["messaging.message.id"] == str(first.id)

    def test_of_a_replay_begin_a_trace_of_their_own_linked_to_the_first(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if context.run == 1:
                raise PermanentError

        station.declare(handler)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        replay_dead_letters(ids=[dead(message_id).id], actor=ANA, reason="again")
        run_until_idle()
        *_, replayed = named(spans, "process")
        original = context_of(Message.objects.get(id=message_id))
        assert replayed.context is not None
        assert replayed.context.trace_id != original[0]
        assert [link.context.trace_id for link in replayed.links] == [original[0]]

    def test_are_not_made_without_a_provider(self, station: Any) -> None:
        assert not tracing.is_on()
        with tracing.span("anything") as current:
            assert current is None
