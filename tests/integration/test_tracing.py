"""Trace context travels in every envelope; with a provider configured, spans hang together and are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.instrumentation import psycopg
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from console import telemetry
from messaging import Context, PermanentError, publish, tracing
from messaging.models import Message, Span, Trace
from messaging.queries import traces
from messaging.relay import Relay
from messaging.spans import storing
from messaging.spans.processor import StoreProcessor
from messaging.testing import run_until_idle
from messaging.tracing import parse, use_trace
from tests.factories import DoorsOpened, TrainArrived, arrive
from tests.traced import context_of, named

pytestmark = pytest.mark.django_db(transaction=True)


def chain(event: TrainArrived, context: Context) -> None:
    with transaction.atomic():
        publish(DoorsOpened(train=event.train))


def fails_once(event: TrainArrived, context: Context) -> None:
    if context.attempt == 1:
        raise ValueError("no platform")
    publish(DoorsOpened(train=event.train))


def gives_up(event: TrainArrived, context: Context) -> None:
    if context.run == 1:
        raise PermanentError("no such train")


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


class TestBaggage:
    def test_of_a_request_passes_on_to_what_it_causes(self, station: Any) -> None:
        station.declare(chain)
        with use_trace(f"00-{'a' * 32}-{'b' * 16}-00", tracestate="vendor=1", baggage="tenant=north"):
            arrive("ICE 1")
        run_until_idle()
        for message in Message.objects.all():
            assert message.headers["baggage"] == "tenant=north"
            assert message.headers["tracestate"] == "vendor=1"
            assert message.traceparent[3:35] == "a" * 32

    def test_is_there_for_the_handler_and_passes_on_with_spans(self, station: Any, spans: InMemorySpanExporter) -> None:
        seen = []

        def handler(event: TrainArrived, context: Context) -> None:
            seen.append(baggage.get_baggage("tenant"))
            publish(DoorsOpened(train=event.train))

        station.declare(handler)
        token = attach(baggage.set_baggage("tenant", "north"))
        try:
            arrive("ICE 1")
        finally:
            detach(token)
        run_until_idle()
        assert seen == ["north"]
        assert Message.objects.get(type="tests.DoorsOpened").headers["baggage"] == "tenant=north"

    def test_that_no_header_can_hold_is_left_behind(self) -> None:
        with use_trace(f"00-{'a' * 32}-{'b' * 16}-00", baggage="a=\x00"):
            arrive("ICE 1")
        assert Message.objects.get().headers == {}


class TestSpans:
    def test_of_publish_relay_and_process_are_made_and_connected(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        station.declare(chain)
        arrive("ICE 1")
        run_until_idle()
        first = Message.objects.get(type="tests.TrainArrived")
        follow_up = Message.objects.get(type="tests.DoorsOpened")
        [published, _] = named(spans, "publish")
        [processed] = named(spans, "process")
        batch, _, in_trace, _ = sorted(named(spans, "relay"), key=lambda span: span.parent is not None)
        assert published.context is not None
        assert context_of(first) == (published.context.trace_id, published.context.span_id)
        assert in_trace.parent is not None
        assert in_trace.parent.span_id == published.context.span_id
        assert [link.context.span_id for link in batch.links] == [published.context.span_id]
        assert processed.parent is not None
        assert processed.parent.span_id == published.context.span_id
        assert processed.context is not None
        assert context_of(follow_up)[0] == processed.context.trace_id == published.context.trace_id
        assert processed.attributes is not None
        assert processed.attributes["messaging.message.id"] == str(first.id)
        assert processed.attributes["messaging.operation.type"] == "process"

    def test_of_a_claim_link_to_its_messages(self, station: Any, spans: InMemorySpanExporter) -> None:
        station.declare(chain)
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        [delivered] = named(spans, "deliver")
        [claimed] = named(spans, "claim")
        published = {span.context.span_id for span in named(spans, "publish tests.TrainArrived") if span.context}
        assert {link.context.span_id for link in delivered.links} == published
        assert claimed.parent == delivered.context

    def test_of_retries_stay_in_the_trace_and_follow_ups_hang_below_the_last(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        station.declare(fails_once)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        first, second = named(spans, "process")
        [retry] = named(spans, "retry")
        [_, followed] = named(spans, "publish")
        trace_id = context_of(Message.objects.get(id=message_id))[0]
        assert {span.context.trace_id for span in (first, second, retry, followed) if span.context} == {trace_id}
        assert not first.status.is_ok
        assert [event.name for event in first.events] == ["exception"]
        assert (first.attributes or {})["signalbox.outcome"] == "retried"
        assert retry.parent == first.context
        assert followed.parent == second.context

    def test_are_not_made_without_a_provider(self, station: Any) -> None:
        assert not tracing.is_on()
        with tracing.span("anything") as current:
            assert current is None


class TestSampling:
    def test_keeps_nothing_of_what_went_well_in_a_trace_that_is_not_sampled(
        self, station: Any, unsampled: InMemorySpanExporter
    ) -> None:
        station.declare(chain)
        arrive("ICE 1")
        run_until_idle()
        assert unsampled.get_finished_spans() == ()
        assert all(each.endswith("-00") for each in Message.objects.values_list("traceparent", flat=True))

    def test_keeps_what_failed_connected_with_its_publication_and_all_that_follows(
        self, station: Any, unsampled: InMemorySpanExporter
    ) -> None:
        station.declare(fails_once)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        original = context_of(Message.objects.get(id=message_id))
        published, followed = named(unsampled, "publish")
        first, second = named(unsampled, "process")
        assert published.context is not None
        assert (published.context.trace_id, published.context.span_id) == original
        for attempt in (first, second):
            assert attempt.parent is not None
            assert (attempt.parent.trace_id, attempt.parent.span_id) == original
        assert followed.parent == second.context
        assert Message.objects.get(type="tests.DoorsOpened").traceparent.endswith("-01")

    def test_keeps_what_was_dead_lettered(self, station: Any, unsampled: InMemorySpanExporter) -> None:
        station.declare(gives_up)
        arrive("ICE 1")
        run_until_idle()
        [failed] = named(unsampled, "process")
        assert (failed.attributes or {})["signalbox.outcome"] == "dead_lettered"
        assert named(unsampled, "dead-letter")

    def test_follows_the_request_it_came_with(self, station: Any, unsampled: InMemorySpanExporter) -> None:
        station.declare(chain)
        with tracing.tracer().start_as_current_span("browser", attributes={tracing.KEEP: True}):
            arrive("ICE 1")
        run_until_idle()
        trace_ids = {span.context.trace_id for span in named(unsampled, "p") if span.context}
        assert trace_ids == {context_of(message)[0] for message in Message.objects.all()}


class TestStatements:
    def test_have_spans_in_recorded_traces_only(self, spans: InMemorySpanExporter, monkeypatch: Any) -> None:
        monkeypatch.setattr(psycopg, "CursorTracer", psycopg.CursorTracer)
        telemetry.pay_for_recorded_statements_only()
        ran = []

        class Cursor:
            def execute(self, query: str) -> None:
                ran.append(query)

        cursor = psycopg._new_cursor_factory(base_factory=Cursor, tracer_provider=trace.get_tracer_provider())()
        cursor.execute("SELECT 1")
        with tracing.tracer().start_as_current_span("request"):
            cursor.execute("SELECT 2")
        assert ran == ["SELECT 1", "SELECT 2"]
        assert [(span.name, bool(span.parent)) for span in named(spans, "SELECT")] == [("SELECT", True)]


class TestStore:
    def test_holds_one_connected_trace_of_a_flow(self, station: Any, span_store: StoreProcessor) -> None:
        station.declare(fails_once)
        [message_id] = arrive("ICE 1")
        Relay().step()
        run_until_idle()
        span_store.force_flush()
        message = Message.objects.get(id=message_id)
        found = traces.get_trace(message.traceparent[3:35])
        assert found is not None
        assert [span.name for span in found.spans if not span.depth] == ["publish tests.TrainArrived"]
        assert {span.operation for span in found.spans} == {"publish", "relay", "process", "retry"}
        assert found.correlation_ids == (message.correlation_id,)
        [row] = traces.list_traces(traces.TraceFilter()).rows
        assert (row.trace_id, row.name, row.errors) == (found.trace_id, "publish tests.TrainArrived", 1)
        assert row.spans == len(found.spans)

    def test_marks_what_the_end_waited_for(self, station: Any, span_store: StoreProcessor) -> None:
        station.declare(fails_once)
        arrive("ICE 1")
        run_until_idle()
        span_store.force_flush()
        [row] = traces.list_traces(traces.TraceFilter()).rows
        found = traces.get_trace(row.trace_id)
        assert found is not None
        assert [span.is_critical for span in found.spans if span.operation == "process"] == [True, True]

    def test_drops_and_counts_what_its_queue_cannot_hold(
        self, span_store: StoreProcessor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("messaging.spans.processor.queue_limit", lambda: 2)
        arrive("ICE 1", "ICE 2", "ICE 3", "ICE 4")
        span_store.force_flush()
        assert span_store.dropped == 2
        assert Span.objects.count() == 2

    def test_is_pruned_by_age_and_by_number(self, span_store: StoreProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
        arrive("ICE 1", "ICE 2", "ICE 3")
        span_store.force_flush()
        kept = list(Span.objects.order_by("id").values_list("trace_id", flat=True))
        monkeypatch.setattr(storing, "limits", lambda: (timedelta(hours=1), 1))
        assert storing.prune() == 2
        assert list(Trace.objects.values_list("trace_id", flat=True)) == kept[-1:]
        monkeypatch.setattr(storing, "limits", lambda: (timedelta(), 1))
        assert storing.prune() == 1
        assert not Trace.objects.exists()
