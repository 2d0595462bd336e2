"""Traces as lists and as trees of spans with their critical path."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import F, QuerySet

from messaging.ids import id_at
from messaging.models import Message, Span, Trace
from messaging.queries.pages import Page, is_storable, keyset_page
from messaging.queries.trees import arrange

SPAN_CAP = 10_000
RECENT = 5_000
"""How far back the suggestions of services look."""
BATCH_TIME = timedelta(minutes=1)
Order = Literal["recent", "slow"]


@dataclass(frozen=True, kw_only=True)
class TraceFilter:
    service: str = ""
    consumer: str = ""
    type: str = ""
    correlation_id: str = ""
    only_failed: bool = False
    min_ms: float | None = None
    max_ms: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    with_inner: bool = False
    """Also traces of nothing but reads, or the bus's own machinery: relayed and claimed batches."""


@dataclass(frozen=True, kw_only=True)
class TraceRow:
    trace_id: str
    id: UUID
    """Cursor of pages."""
    name: str
    service: str
    started_at: datetime
    duration_us: int
    spans: int
    errors: int
    correlation_id: str


@dataclass(frozen=True, kw_only=True)
class SpanView:
    """One span; ``offset_us`` counts from the trace's beginning, ``depth`` is its level in the tree."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str
    started_at: datetime
    offset_us: int
    duration_us: int
    status: str
    status_message: str
    message_id: UUID | None
    consumer: str
    type: str
    correlation_id: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
    links: list[dict[str, Any]]
    depth: int = 0
    is_critical: bool = False

    @property
    def operation(self) -> str:
        return str(self.attributes.get("messaging.operation.name", ""))

    @property
    def outcome(self) -> str:
        return str(self.attributes.get("signalbox.outcome", ""))


@dataclass(frozen=True, kw_only=True)
class TraceDetail:
    trace_id: str
    name: str
    service: str
    started_at: datetime
    duration_us: int
    errors: int
    correlation_ids: tuple[str, ...]
    services: tuple[str, ...]
    spans: tuple[SpanView, ...] = field(default=())
    """In tree order: each span after its parent, siblings by time."""
    is_capped: bool = False


def list_traces(
    where: TraceFilter, *, order: Order = "recent", limit: int = 50, after: UUID | None = None,
    before: UUID | None = None,
) -> Page[TraceRow]:  # fmt: skip
    """Return traces, newest first, or the slowest of those that match (one page)."""
    if not is_storable(where.service, where.consumer, where.type, where.correlation_id):
        return Page(rows=(), older=None, newer=None)
    found = _filtered(where)
    if order == "slow":
        slowest = found.order_by("-length", "-sort_id")[: max(1, min(limit, 200))]
        return Page(rows=tuple(_row(trace) for trace in slowest), older=None, newer=None)
    keyed = found.annotate(id=F("sort_id"))
    return keyset_page(keyed, lambda rows: [_row(row) for row in rows], limit=limit, after=after, before=before)


def count_newer(where: TraceFilter, *, than: UUID) -> int:
    """Return how many traces came after one, at most 100."""
    return _filtered(where).filter(sort_id__gt=than)[:100].count()


def _filtered(where: TraceFilter) -> QuerySet[Any, Any]:
    found = Trace.objects.annotate(length=F("ended_us") - F("started_us"))
    if not where.with_inner:
        found = found.filter(is_inner=False)
    if where.only_failed:
        found = found.filter(errors__gt=0)
    if where.correlation_id:
        found = found.filter(correlation_id=where.correlation_id)
    # A trace is keyed when its first batch of spans is: they are no older than that batch took.
    spans = Span.objects.filter(id__gte=id_at(where.since - BATCH_TIME)) if where.since else Span.objects.all()
    for name in ("service", "consumer", "type"):
        if value := getattr(where, name):
            found = found.filter(trace_id__in=spans.filter(**{name: value}).values("trace_id"))
    if where.min_ms is not None:
        found = found.filter(length__gte=int(where.min_ms * 1000))
    if where.max_ms is not None:
        found = found.filter(length__lte=int(where.max_ms * 1000))
    if where.since:
        found = found.filter(sort_id__gte=id_at(where.since))
    if where.until:
        found = found.filter(sort_id__lt=id_at(where.until))
    return found


def _row(trace: Trace) -> TraceRow:
    return TraceRow(
        trace_id=trace.trace_id, id=trace.sort_id, name=trace.name, service=trace.service,
        started_at=moment(trace.started_us), duration_us=trace.ended_us - trace.started_us, spans=trace.spans,
        errors=trace.errors, correlation_id=trace.correlation_id,
    )  # fmt: skip


def get_trace(trace_id: str) -> TraceDetail | None:
    """Return a trace with its spans, or None when none of it is kept."""
    if not is_storable(trace_id):
        return None
    found = list(Span.objects.filter(trace_id=trace_id).order_by("id")[: SPAN_CAP + 1])
    if not found:
        return None
    # An exporter that tries again sends a span twice; the first one stays.
    unique = {span.span_id: span for span in reversed(found[:SPAN_CAP])}
    spans = sorted(unique.values(), key=lambda span: (span.started_us, span.duration_us, span.span_id))
    begin = min(span.started_us for span in spans)
    end = max(span.started_us + span.duration_us for span in spans)
    views = arrange([_view(span, begin) for span in spans])
    root = views[0]
    return TraceDetail(
        trace_id=trace_id, name=root.name, service=root.service, started_at=moment(begin), duration_us=end - begin,
        errors=sum(span.status == "error" for span in spans),
        correlation_ids=tuple(sorted({span.correlation_id for span in spans if span.correlation_id})),
        services=tuple(sorted({span.service for span in spans})), spans=tuple(views), is_capped=len(found) > SPAN_CAP,
    )  # fmt: skip


def _view(span: Span, begin: int) -> SpanView:
    return SpanView(
        span_id=span.span_id, parent_id=span.parent_id, name=span.name, kind=span.kind, service=span.service,
        scope=span.scope, started_at=moment(span.started_us), offset_us=span.started_us - begin,
        duration_us=span.duration_us, status=span.status, status_message=span.status_message,
        message_id=span.message_id, consumer=span.consumer, type=span.type, correlation_id=span.correlation_id,
        attributes=span.attributes, events=span.events, links=span.links,
    )  # fmt: skip


def moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def known_services(limit: int = 50) -> list[str]:
    """Return the services that the newest traces began in, by name."""
    recent = Trace.objects.order_by("-sort_id").values_list("service", flat=True)[:RECENT]
    return sorted(set(recent))[:limit]


def find_trace(text: str) -> str:
    """Return the trace id in ``text`` (32 hexadecimal digits, or a traceparent) if any of it is kept; else ""."""
    parts = text.strip().lower().split("-")
    wanted = parts[1] if len(parts) == 4 else parts[0]
    return wanted if len(wanted) == 32 and Trace.objects.filter(trace_id=wanted).exists() else ""


def has_messages(correlation_id: str) -> bool:
    """Say whether any message belongs to this business flow."""
    if not is_storable(correlation_id) or not 0 < len(correlation_id) <= 200:
        return False
    return Message.objects.filter(correlation_id=correlation_id).exists()
