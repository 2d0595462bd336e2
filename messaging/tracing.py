"""W3C trace context in every envelope, and OpenTelemetry spans when a tracer provider is configured."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from messaging.context import current_scope, incoming_trace, use_correlation
from messaging.envelope import Envelope

__all__ = [
    "child_traceparent", "is_on", "name_after", "new_traceparent", "parse", "span", "use_correlation", "use_trace",
]  # fmt: skip

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACEPARENT = re.compile(r"\A00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_tracer = trace.get_tracer("signalbox")


def is_on() -> bool:
    """Say whether spans go anywhere; without a configured provider none is made."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def parse(value: str) -> str | None:
    """Return ``value`` if it is a valid W3C traceparent."""
    return value if _TRACEPARENT.match(value) else None


def child_traceparent() -> str:
    """Return the traceparent of a message published here: of the current span, the message handled, or a new trace."""
    carrier: dict[str, str] = {}
    if is_on():
        _PROPAGATOR.inject(carrier)
    if "traceparent" in carrier:
        return carrier["traceparent"]
    scope = current_scope.get()
    parent = scope.context.traceparent if scope else incoming_trace.get()
    return f"{parent[:36]}{secrets.token_hex(8)}{parent[-3:]}" if parent else new_traceparent()


def new_traceparent() -> str:
    """Return the context of a new trace, not sampled: where nobody records spans, flows still have a trace id."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


@contextmanager
def use_trace(traceparent: str) -> Iterator[None]:
    """Everything published inside belongs to the trace a request came with, if that is a valid traceparent."""
    token = incoming_trace.set(parse(traceparent))
    try:
        yield
    finally:
        incoming_trace.reset(token)


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    links: list[str] | None = None,
    **attributes: Any,
) -> Iterator[Any]:
    """Run the block inside a span; ``parent`` and ``links`` are traceparents, "__" in attribute names means a dot."""
    if not is_on():
        yield None
        return
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    named = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=named, links=[_link(value) for value in links or ()]
    ) as current:
        yield current


def name_after(current: Any, verb: str, envelopes: Sequence[Envelope]) -> None:
    """Name a span after the messages it concerns, as the messaging conventions ask."""
    types = sorted({envelope.type for envelope in envelopes})
    current.update_name(f"{verb} {types[0]}" if len(types) == 1 else f"{verb} {len(envelopes)} messages")
    current.set_attribute("messaging.operation.type", verb)
    current.set_attribute("messaging.batch.message_count", len(envelopes))
    if len(envelopes) == 1:
        current.set_attribute("messaging.destination.name", envelopes[0].type)
        current.set_attribute("messaging.message.id", str(envelopes[0].id))
        current.set_attribute("messaging.message.conversation_id", envelopes[0].correlation_id)


def _link(traceparent: str) -> Link:
    context = _PROPAGATOR.extract({"traceparent": traceparent})
    return Link(trace.get_current_span(context).get_span_context())
