"""A tracer provider for one test, and what its spans say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from console import telemetry
from messaging import tracing
from messaging.models import Message
from messaging.spans.processor import StoreProcessor


def provide(monkeypatch: pytest.MonkeyPatch, *processors: Any) -> Any:
    """Configure a provider for one test; OpenTelemetry itself lets a process set it only once."""
    provider = telemetry.provide()
    for processor in processors:
        provider.add_span_processor(processor)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("signalbox"))
    return provider


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Keep the spans of every trace."""
    yield from _exported(monkeypatch, ratio=1.0)


@pytest.fixture
def unsampled(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A provider that records no trace by itself."""
    yield from _exported(monkeypatch, ratio=0.0)


def _exported(monkeypatch: pytest.MonkeyPatch, *, ratio: float) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with override_settings(TRACE_RATIO=ratio):
        provider = provide(monkeypatch, SimpleSpanProcessor(exporter))
    yield exporter
    provider.shutdown()


@pytest.fixture
def span_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreProcessor]:
    """A provider that records every trace into the bus's own store."""
    processor = StoreProcessor()
    monkeypatch.setattr(processor, "_start", lambda: None)  # written when the test asks for it
    with override_settings(TRACE_RATIO=1.0):
        provider = provide(monkeypatch, processor)
    yield processor
    provider.shutdown()


def named(spans: InMemorySpanExporter, start: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name.startswith(start)]


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def context_of(message: Message) -> tuple[int, int]:
    """Return trace and span id of a message's publication."""
    return int(message.traceparent[3:35], 16), int(message.traceparent[36:52], 16)


def linked(span: ReadableSpan) -> set[tuple[int, int]]:
    """Return trace and span id of everything that a span is linked to."""
    return {(link.context.trace_id, link.context.span_id) for link in span.links}


def without_parent(spans: InMemorySpanExporter, trace_id: int) -> list[str]:
    """Return the names of a trace's spans whose parent is not there: only its root, if it hangs together."""
    own = [span for span in spans.get_finished_spans() if trace_of(span) == trace_id]
    known = {span.context.span_id for span in own if span.context}
    return [span.name for span in own if span.parent is None or span.parent.span_id not in known]
