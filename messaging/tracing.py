"""W3C trace context in every envelope, and OpenTelemetry spans when a tracer provider is configured."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from messaging.context import current_scope, incoming_carried, incoming_trace, use_correlation
from messaging.envelope import Envelope

__all__ = [
    "CARRIED", "KEEP", "carried", "child_traceparent", "context_from", "current", "forced_ids", "is_on", "is_sampled",
    "links_to", "name_after", "new_traceparent", "parse", "relayed", "span", "start", "tracer",
    "use_correlation", "use_trace",
]  # fmt: skip

CARRIED = ("tracestate", "baggage")
"""Headers of an envelope that travel with its traceparent and pass on to what it causes."""
MOST_LINKS = 100
_LONGEST_CARRIED = 4_000
_BAGGAGE = W3CBaggagePropagator()
_PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), _BAGGAGE])
_TRACEPARENT = re.compile(r"\A00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_tracer = trace.get_tracer("signalbox")
KEEP = "signalbox.keep"
"""Attribute of a span that is recorded whatever the sampler said of its trace: something failed."""
forced_ids: ContextVar[tuple[int, int] | None] = ContextVar("forced_ids", default=None)
"""Trace and span id of the next span, where one is made after the fact under the ids that others already refer to."""


def is_on() -> bool:
    """Say whether spans go anywhere; without a configured provider none is made."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def parse(value: str) -> str | None:
    """Return ``value`` if it is a valid W3C traceparent."""
    return value if _TRACEPARENT.match(value) else None


def child_traceparent() -> str:
    """Return the traceparent of a message published here: of the current span, the message handled, or a new trace."""
    if is_on():
        current = trace.get_current_span().get_span_context()
        if current.is_valid:
            return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags & 1:02x}"
    scope = current_scope.get()
    parent = scope.context.traceparent if scope else incoming_trace.get()
    return f"{parent[:36]}{secrets.token_hex(8)}{parent[-3:]}" if parent else new_traceparent()


def carried() -> dict[str, str]:
    """Return the tracestate and baggage that a message published here takes along."""
    found: Mapping[str, str]
    if is_on() and trace.get_current_span().get_span_context().is_valid:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        found = carrier
    else:
        scope = current_scope.get()
        found = scope.context.headers if scope else incoming_carried.get() or {}
    return {name: found[name] for name in CARRIED if _is_sound(found.get(name))}


def _is_sound(value: str | None) -> bool:
    return bool(value) and len(value or "") <= _LONGEST_CARRIED and not _UNPRINTABLE.search(value or "")


def new_traceparent() -> str:
    """Return the context of a new trace, not sampled: where nobody records spans, flows still have a trace id."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


@contextmanager
def use_trace(traceparent: str, **others: str) -> Iterator[None]:
    """Everything published inside belongs to the trace a request came with, if that is a valid traceparent.

    ``others`` are the tracestate and baggage it came with.
    """
    token = incoming_trace.set(parse(traceparent))
    token_of_others = incoming_carried.set(others)
    try:
        yield
    finally:
        incoming_trace.reset(token)
        incoming_carried.reset(token_of_others)


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    links: Iterable[str] | None = None,
    **attributes: Any,
) -> Iterator[Any]:
    """Run the block inside a span; ``parent`` and ``links`` are traceparents, "__" in attribute names means a dot."""
    if not is_on():
        yield None
        return
    with _tracer.start_as_current_span(
        name, context=context_from(parent), kind=kind, attributes=_named(attributes), links=links_to(links)
    ) as current:
        yield current


def tracer() -> trace.Tracer:
    """Return the tracer of the bus's own spans."""
    return _tracer


def is_sampled(traceparent: str) -> bool:
    """Say whether the trace of a message is recorded."""
    return traceparent[-2:] == "01"


def start(
    name: str,
    *,
    kind: SpanKind,
    context: OtelContext | None,
    start_ns: int | None = None,
    links: Iterable[str] = (),
    ids: tuple[int, int] | None = None,
    attributes: Mapping[str, Any],
) -> Any:
    """Return a span that the caller ends; ``ids`` are those it has to have."""
    token = forced_ids.set(ids)
    try:
        return _tracer.start_span(
            name, context=context, kind=kind, start_time=start_ns, links=links_to(links), attributes=dict(attributes)
        )
    finally:
        forced_ids.reset(token)


@contextmanager
def current(span: Any, headers: Mapping[str, str] | None = None) -> Iterator[None]:
    """Make ``span`` the parent of what the block does, without ending it or noting its errors.

    ``headers`` are those of a message: their baggage is there in the block.
    """
    context = trace.set_span_in_context(span)
    if headers and "baggage" in headers:
        context = _BAGGAGE.extract({"baggage": headers["baggage"]}, context=context)
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def context_from(traceparent: str | None, headers: Mapping[str, str] | None = None) -> OtelContext | None:
    """Return the context that a message carries, with its baggage."""
    if not traceparent:
        return None
    carrier = {"traceparent": traceparent, **{name: (headers or {}).get(name, "") for name in CARRIED}}
    return _PROPAGATOR.extract(carrier, context=OtelContext())


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in attributes.items() if value is not None}


def name_after(current: Any, verb: str, envelopes: Sequence[Envelope]) -> None:
    """Name a span after the messages it concerns, as the messaging conventions ask."""
    if not current.is_recording():
        return
    types = sorted({envelope.type for envelope in envelopes})
    current.update_name(f"{verb} {types[0]}" if len(types) == 1 else f"{verb} {len(envelopes)} messages")
    current.set_attribute("messaging.operation.name", verb)
    current.set_attribute("messaging.operation.type", "send")
    if len(types) == 1:
        current.set_attribute("messaging.destination.name", types[0])
    correlations = {envelope.correlation_id for envelope in envelopes}
    if len(correlations) == 1:
        current.set_attribute("messaging.message.conversation_id", correlations.pop())
    if len(envelopes) == 1:
        current.set_attribute("messaging.message.id", str(envelopes[0].id))
        current.set_attribute("messaging.message.body.size", len(envelopes[0].body))
    else:
        current.set_attribute("messaging.batch.message_count", len(envelopes))


def links_to(traceparents: Iterable[str] | None) -> list[Link]:
    """Return links to the contexts of messages, at most MOST_LINKS."""
    found: list[Link] = []
    for value in traceparents or ():
        context = context_from(value)
        if context is not None and len(found) < MOST_LINKS:
            found.append(Link(trace.get_current_span(context).get_span_context()))
    return found


def relayed(contexts: Sequence[str], *, taken: int, began_ns: int) -> None:
    """Make the spans of a relayed batch: one linked to its messages, and one in the trace of each that is recorded."""
    common = {"messaging.system": "signalbox", "messaging.operation.name": "relay"}
    counted = {**common, "messaging.batch.message_count": taken}
    ended = time.time_ns()
    batch = start(
        "relay", kind=SpanKind.INTERNAL, context=OtelContext(), start_ns=began_ns, links=contexts, attributes=counted
    )
    batch.end(ended)
    for each in contexts:
        start(
            "relay", kind=SpanKind.INTERNAL, context=context_from(each), start_ns=began_ns, attributes=common
        ).end(ended)  # fmt: skip
