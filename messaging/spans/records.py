"""A finished span as the store keeps it, wherever it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from uuid import UUID

from opentelemetry.sdk.trace import ReadableSpan

from messaging.failure import storable

MOST_ATTRIBUTES, LONGEST_TEXT = 64, 2_000
MOST_EVENTS, MOST_LINKS = 64, 200
_CORRELATION = "messaging.message.conversation_id"
_CONSUMER = "messaging.consumer.group.name"
INNER = frozenset({"relay", "receive"})
"""Operations of the bus's own machinery: traces of nothing else are not listed unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRecord:
    """See models.Span; times in microseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str
    started_us: int
    duration_us: int
    status: str = "unset"
    status_message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)

    @property
    def message_id(self) -> UUID | None:
        try:
            return UUID(str(self.attributes.get("messaging.message.id", "")))
        except ValueError:
            return None

    @property
    def consumer(self) -> str:
        return str(self.attributes.get(_CONSUMER, ""))[:200]

    @property
    def type(self) -> str:
        return str(self.attributes.get("messaging.destination.name", ""))[:200]

    @property
    def correlation_id(self) -> str:
        return str(self.attributes.get(_CORRELATION, ""))[:200]

    @property
    def is_inner(self) -> bool:
        """Say whether this span alone makes no trace worth listing: the bus's own batches, reads that went well."""
        if self.attributes.get("messaging.operation.name") in INNER:
            return True
        method = self.attributes.get("http.request.method", self.attributes.get("http.method"))
        is_read = self.kind == "client" or method in {"GET", "HEAD"}
        return is_read and self.status != "error" and self.scope.startswith("opentelemetry.instrumentation.")


def from_sdk(span: ReadableSpan) -> SpanRecord:
    """Return what is kept of a span of this process."""
    context, parent = span.context, span.parent
    assert context is not None
    started, ended = span.start_time or 0, span.end_time or span.start_time or 0
    scope = span.instrumentation_scope
    return SpanRecord(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=f"{parent.span_id:016x}" if parent else "",
        name=text(span.name, 300),
        kind=span.kind.name.lower(),
        service=text(span.resource.attributes.get("service.name", ""), 200),
        scope=text(scope.name if scope else "", 200),
        started_us=started // 1000,
        duration_us=max(0, ended - started) // 1000,
        status=span.status.status_code.name.lower(),
        status_message=text(span.status.description or "", LONGEST_TEXT),
        attributes=attributes(span.attributes or {}),
        events=[
            {
                "name": text(event.name, 300),
                "at_us": event.timestamp // 1000,
                "attributes": attributes(event.attributes),
            }
            for event in span.events[:MOST_EVENTS]
        ],
        links=[
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links[:MOST_LINKS]
        ],
    )


def attributes(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return attributes as JSON that both databases keep, cut to a size."""
    found: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if len(found) == MOST_ATTRIBUTES:
            break
        found[text(name, 200)] = _value(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, bool | int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_value(each) for each in list(value)[:MOST_ATTRIBUTES]]
    return text(value, LONGEST_TEXT)


def text(value: object, limit: int) -> str:
    """Return text that both databases keep, at most ``limit`` characters."""
    return storable(str(value)[:limit])[:limit]  # what replaces NUL is longer
