"""W3C trace context in every envelope, and OpenTelemetry spans when a tracer provider is configured."""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from messaging.context import Context, current_scope, incoming_carried, incoming_trace, use_correlation
from messaging.envelope import Envelope

__all__ = [
    "CARRIED", "KEEP", "carried", "child_traceparent", "context_from", "current", "forced_ids", "is_on", "is_sampled",
    "links_to", "new_traceparent", "parse", "producing", "relayed", "replay_ids", "root_traceparent", "span", "start",
    "traceparent_of", "tracer", "use_correlation", "use_trace", "use_trace_if_none",
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
_NOWHERE = OtelContext()
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
    """Return the traceparent of a message published here: of the current span, the message handled, or a new trace.

    In a trace that is not recorded each publication has an id of its own, under which its span can be made if it fails.
    """
    if above := _unrecorded.get():
        return _beside(above)
    if is_on() and (above := traceparent_of(trace.get_current_span())):
        return above if is_sampled(above) else _beside(above)
    scope = current_scope.get()
    parent = _handled(scope.context) if scope else incoming_trace.get()
    return _beside(parent) if parent else new_traceparent()


def _beside(traceparent: str) -> str:
    return f"{traceparent[:36]}{secrets.token_hex(8)}{traceparent[-3:]}"


def _handled(context: Context) -> str:
    """Return the trace that the handling of a message belongs to: a replay has one of its own."""
    if context.run == 1:
        return context.traceparent
    trace_id, span_id = replay_ids(context.message_id, context.consumer, context.run)
    return f"00-{trace_id:032x}-{span_id:016x}-00"


def replay_ids(message_id: UUID, consumer: str, run: int) -> tuple[int, int]:
    """Return trace and root span id of a replay, the same for each of its attempts in whatever process."""
    digest = hashlib.sha256(f"{message_id}:{consumer}:{run}".encode()).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


def traceparent_of(span: Any) -> str:
    """Return a span's context as W3C writes it, or "" when it has none."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def carried() -> dict[str, str]:
    """Return the tracestate and baggage that a message published here takes along."""
    scope = current_scope.get()
    found: Mapping[str, str] = scope.context.headers if scope else incoming_carried.get() or {}
    if is_on() and not (scope and scope.at_hand):
        above = trace.get_current_span().get_span_context()
        if above.is_valid:
            state = above.trace_state.to_header() if above.trace_state else found.get("tracestate", "")
            found = {"tracestate": state, **_baggage()}
    if not found:
        return {}
    return {name: found[name] for name in CARRIED if _is_sound(found.get(name))}


def _baggage() -> dict[str, str]:
    carrier: dict[str, str] = {}
    if baggage.get_all():
        _BAGGAGE.inject(carrier)
    return carrier


def _is_sound(value: str | None) -> bool:
    return bool(value) and len(value or "") <= _LONGEST_CARRIED and not _UNPRINTABLE.search(value or "")


def root_traceparent() -> str:
    """Return the traceparent of a message that begins a trace, inside the span that does, where spans are made."""
    return child_traceparent() if is_on() else new_traceparent()


def new_traceparent() -> str:
    """Return the context of a new trace, not sampled: where nobody records spans, flows still have a trace id."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


@contextmanager
def use_trace(traceparent: str, **others: str) -> Iterator[None]:
    """Everything published inside belongs to the trace a request came with, if that is a valid traceparent.

    ``others`` are the tracestate and baggage it came with.
    """
    sound = parse(traceparent)
    token = incoming_trace.set(sound and f"{sound[:-2]}{int(sound[-2:], 16) & 1:02x}")
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
    links: Iterable[str] | None = None,
    **attributes: Any,
) -> Iterator[Any]:
    """Run the block inside a span, unless its trace is not recorded.

    ``links`` are traceparents, "__" in attribute names means a dot. Inside ``BatchContext.each`` the parent is the
    handling of the message at hand.
    """
    above = _above() if is_on() else ""
    if not is_on() or (above and not is_sampled(above)):
        yield None
        return
    context = _context_of(above) if above else None
    with _tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=_named(attributes), links=links_to(links)
    ) as current:
        yield current


@contextmanager
def producing(verb: str, *, is_root: bool = False, links: Iterable[str] | None = None) -> Iterator[list[Envelope]]:
    """Run the block inside the span of a publication; it adds what it publishes to the list that it gets.

    Where the trace is not recorded, which is decided here for one that begins, nothing of the SDK is paid for.
    """
    made: list[Envelope] = []
    if not is_on():
        yield made
        return
    above, ids = "" if is_root else _above(), None
    if not above:
        ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
        above = "" if _is_recorded(ids[0], verb) else f"00-{ids[0]:032x}-{ids[1]:016x}-00"
    if above and not is_sampled(above):
        token = _unrecorded.set(above)
        try:
            yield made
        finally:
            _unrecorded.reset(token)
        return
    given = start(
        verb, kind=SpanKind.PRODUCER, context=OtelContext() if ids else _context_of(above), links=links or (), ids=ids,
        attributes={"messaging.system": "signalbox"},
    )  # fmt: skip
    with trace.use_span(given, end_on_exit=True):
        yield made
        if made:
            _name_after(given, verb, made)


_unrecorded: ContextVar[str] = ContextVar("unrecorded", default="")
"""What is published just now hangs below this, in a trace that is not recorded."""


def _above() -> str:
    """Return the traceparent that what is done here hangs below: in a batch of the message at hand; "" for none."""
    scope = current_scope.get()
    if scope and scope.at_hand:
        return scope.at_hand
    here = traceparent_of(trace.get_current_span())
    return here or ("" if scope else incoming_trace.get() or "")


def _context_of(above: str) -> OtelContext | None:
    """Return the context of what ``_above`` named; None for the current one, which knows more than its traceparent."""
    return None if above == traceparent_of(trace.get_current_span()) else context_from(above)


def _is_recorded(trace_id: int, name: str) -> bool:
    """Say whether the provider's sampler records a trace of this id."""
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if sampler is None:
        return True
    return bool(sampler.should_sample(_NOWHERE, trace_id, name, SpanKind.PRODUCER, {}).decision.is_sampled())


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
def use_trace_if_none(traceparent: str, **others: str) -> Iterator[None]:
    """The same, for what says itself which trace it comes from: only where nothing else tells."""
    known = incoming_trace.get() or current_scope.get() or traceparent_of(trace.get_current_span())
    with nullcontext() if known else use_trace(traceparent, **others):
        yield


class current:  # noqa: N801  used like the functions beside it; a generator would cost as much again
    """Make ``span`` the parent of what the block does, without ending it or noting its errors.

    ``headers`` are those of a message: their baggage is there in the block.
    """

    __slots__ = ("_headers", "_span", "_token")

    def __init__(self, span: Any, headers: Mapping[str, str] | None = None) -> None:
        self._span, self._headers = span, headers

    def __enter__(self) -> None:
        context = trace.set_span_in_context(self._span)
        if self._headers and "baggage" in self._headers:
            context = _BAGGAGE.extract({"baggage": self._headers["baggage"]}, context=context)
        self._token = attach(context)

    def __exit__(self, *exception: object) -> None:
        detach(self._token)


def context_from(traceparent: str | None, headers: Mapping[str, str] | None = None) -> OtelContext | None:
    """Return the context that a message carries, with its baggage."""
    if not traceparent:
        return None
    carrier = {"traceparent": traceparent, **{name: (headers or {}).get(name, "") for name in CARRIED}}
    return _PROPAGATOR.extract(carrier, context=OtelContext())


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in attributes.items() if value is not None}


def _name_after(current: Any, verb: str, envelopes: Sequence[Envelope]) -> None:
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
