"""Traces: recent, slow and failed ones; one as a waterfall; two side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.flows import FALL_ROWS, Window, place_of
from console.ui.markup import numbers, waterfall
from console.ui.markup.waterfall import Fall, share
from console.ui.search import RANGES, cursor
from console.ui.shared import shared
from messaging import clock
from messaging.queries import traces
from messaging.queries.traces import SpanView, TraceDetail, TraceFilter

PAGE = 50
VIEWS = (("recent", "Recent"), ("slow", "Slow"), ("failed", "Failed"))
FIELDS = ("service", "consumer", "type", "correlation")
DEFAULT_RANGE = "1h"
_RUN_AGAIN = "run_again"
_STATES = {"retried": "retrying", "postponed": "scheduled", "handled": "handled", "ignored": "discarded"}
_KINDS = {"server": "terminal", "client": "arrow", "producer": "messages", "consumer": "consumers", "internal": "more"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The list as its address says it."""

    where: TraceFilter
    view: str
    range: str
    problem: str

    @property
    def is_slow(self) -> bool:
        return self.view == "slow"


@require_GET
@viewer
@shared("newer")
def trace_list(request: HttpRequest) -> HttpResponse:
    """Show the list; a trace or correlation id in ``q`` jumps there."""
    if text := request.GET.get("q", "").strip():
        if target := jump(text):
            return HttpResponseRedirect(target)
        query = request.GET.copy()
        query.pop("q")
        query["correlation"] = text[:200]
        return HttpResponseRedirect(f"{reverse('traces')}?{query.urlencode()}")
    asked = _asked(request.GET)
    if (top := cursor(request.GET, "than")) is not None:
        newer = traces.count_newer(asked.where, than=top)
        return render(request, "traces/_newer.html", {"newer": newer, "top": top})
    page = traces.list_traces(
        asked.where, order="slow" if asked.is_slow else "recent", limit=PAGE, after=cursor(request.GET, "after"),
        before=cursor(request.GET, "before"),
    )  # fmt: skip
    longest = max((row.duration_us for row in page.rows), default=1) or 1
    context = {
        "asked": asked,
        "page": page,
        "rows": [(row, row.duration_us / longest) for row in page.rows],
        "top": page.rows[0].id if page.rows else None,
        "views": VIEWS,
        "ranges": [(name, words) for name, (_, words) in RANGES.items()] + [("all", "All")],
        "services": traces.known_services(),
        "as_of": clock.now(),
        "is_empty_store": not page.rows and not traces.list_traces(TraceFilter(with_inner=True), limit=1).rows,
        "chips": [(name, request.GET[name]) for name in FIELDS if request.GET.get(name, "").strip()],
    }
    return render(request, "traces/list.html", context)


def jump(text: str) -> str:
    """Return the address of the trace or flow whose id was typed, or "" for neither."""
    if trace_id := traces.find_trace(text):
        return reverse("trace", args=[trace_id])
    return reverse("flow", args=[text]) if traces.has_messages(text) else ""


def _asked(query: QueryDict) -> Asked:
    problems: list[str] = []
    view = query.get("view", "recent")
    view = view if view in dict(VIEWS) else "recent"
    name = query.get("range") or ("all" if query.get("correlation") else DEFAULT_RANGE)
    name = name if name in RANGES or name == "all" else DEFAULT_RANGE
    bounds = [_milliseconds(query.get(bound, ""), bound, problems) for bound in ("min", "max")]
    where = TraceFilter(
        service=query.get("service", "").strip()[:200],
        consumer=query.get("consumer", "").strip()[:200],
        type=query.get("type", "").strip()[:200],
        correlation_id=query.get("correlation", "").strip()[:200],
        only_failed=view == "failed",
        min_ms=bounds[0],
        max_ms=bounds[1],
        since=_since(name),
        with_inner="inner" in query,
    )
    return Asked(where=where, view=view, range=name, problem=" ".join(problems))


def _since(name: str) -> datetime | None:
    return clock.now() - RANGES[name][0] if name in RANGES else None


def _milliseconds(text: str, name: str, problems: list[str]) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= 1e12:
        return value
    problems.append(f"{name} is not a length in milliseconds; write 250.")
    return None


@require_GET
@viewer
@shared("trace")
def trace_page(request: HttpRequest, trace_id: str) -> HttpResponse:
    """Show a trace, with the detail of one span if asked; htmx reads the same address for its part alone."""
    trace = traces.get_trace(trace_id)
    if trace is None:
        raise Http404("No span of this trace is kept; it is unknown, not recorded, or older than spans are kept.")
    target = request.headers.get("HX-Target", "")
    shown = next((span for span in trace.spans if span.span_id == request.GET.get("detail")), None)
    falls = falls_of(trace)
    first = place_of(request, "span", len(falls))
    window = falls[first : first + FALL_ROWS]
    context = {
        "trace": trace,
        "falls": window,
        "fall_window": Window(first=first, shown=len(window), total=len(falls), step=FALL_ROWS),
        "axis": waterfall.axis(trace.duration_us),
        "minimap": waterfall.minimap(
            [(fall.start, fall.length, fall.state) for fall in falls],
            parts=[(place, _window_address(request, place)) for place in range(0, len(falls), FALL_ROWS)],
        ),
        "windows": range(0, len(falls), FALL_ROWS) if len(falls) > FALL_ROWS else (),
        "is_frozen": "frozen" in request.GET,
        "is_running": clock.now() - trace.started_at < timedelta(hours=1),
        **_detail(shown),
    }
    return render(request, "traces/_trace.html" if target == "trace" else "traces/trace.html", context)


def _window_address(request: HttpRequest, place: int) -> str:
    query = request.GET.copy()
    query["span"] = str(place)
    return f"?{query.urlencode()}"


def falls_of(trace: TraceDetail) -> list[Fall]:
    """Return a row for each span, and one for each wait between tries."""
    total, falls = max(1, trace.duration_us), []
    for span in trace.spans:
        state = _STATES.get(span.outcome, "dead" if span.status == "error" else "")
        attempt = span.attributes.get("signalbox.attempt")
        note = (f"attempt {attempt}, " if attempt and attempt != 1 else "") + span.service
        note += ", came to nothing and ran again" if span.outcome == _RUN_AGAIN else ""
        falls.append(
            Fall(
                name=span.name, note=note, icon=state or _KINDS.get(span.kind, "more"), state=state, depth=span.depth,
                start=span.offset_us / total, length=span.duration_us / total, is_critical=span.is_critical,
                duration=numbers.milliseconds(span.duration_us / 1000), label=_label(span), id=span.span_id,
                href=f"{reverse('trace', args=[trace.trace_id])}?detail={span.span_id}",
            )
        )  # fmt: skip
        if wait := _wait(trace, span):
            falls.append(wait)
    return falls


def _label(span: SpanView) -> str:
    if span.status == "error":
        return str(span.attributes.get("error.type", "")) or span.status_message[:60]
    return f"{len(span.events)} events" if len(span.events) > 1 else ""


def _wait(trace: TraceDetail, span: SpanView) -> Fall | None:
    try:
        until = datetime.fromisoformat(str(span.attributes.get("signalbox.next_at", "")))
        length = (until - span.started_at).total_seconds()
    except (TypeError, ValueError):
        return None
    if length < 1:
        return None
    total = max(1, trace.duration_us)
    return Fall(
        name="wait", note="delayed retry", icon="scheduled", state="", kind="wait", depth=span.depth,
        start=share(span.started_at, trace.started_at, total), length=length * 1e6 / total,
        duration=numbers.milliseconds(length * 1000), is_critical=span.is_critical,
    )  # fmt: skip


def _detail(span: SpanView | None) -> dict[str, Any]:
    if span is None:
        return {"span": None}
    return {
        "span": span,
        "attributes": [(name, _text(value)) for name, value in sorted(span.attributes.items())],
        "events": [
            {**event, "pairs": [(name, _text(value)) for name, value in event.get("attributes", {}).items()]}
            for event in span.events
        ],
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@require_GET
@viewer
def compare_page(request: HttpRequest, trace_id: str) -> HttpResponse:
    """Show two traces side by side, by what their spans are called; ``with=`` names the other."""
    ids = (trace_id, traces.find_trace(request.GET.get("with", "")))
    found = [traces.get_trace(each) for each in ids]
    if found[0] is None:
        raise Http404("No span of this trace is kept.")
    context: dict[str, Any] = {
        "trace": found[0],
        "other": found[1],
        "with": request.GET.get("with", "")[:100],
        "lines": [],
    }
    if found[1] is not None:
        context["lines"] = compare(found[0], found[1])
    return render(request, "traces/compare.html", context)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind of work in two traces: how often and how long in total."""

    name: str
    service: str
    counts: tuple[int, int]
    lengths_ms: tuple[float, float]

    @property
    def difference_ms(self) -> float:
        return self.lengths_ms[1] - self.lengths_ms[0]

    @property
    def sign(self) -> str:
        return "+" if self.difference_ms > 0 else "−" if self.difference_ms < 0 else "±"

    @property
    def size_ms(self) -> float:
        return abs(self.difference_ms)


def compare(one: TraceDetail, other: TraceDetail) -> list[Line]:
    """Return what both traces did, the greatest difference in time first."""
    sums: dict[tuple[str, str], list[list[float]]] = {}
    for side, trace in enumerate((one, other)):
        for span in trace.spans:
            entry = sums.setdefault((span.name, span.service), [[0, 0.0], [0, 0.0]])
            entry[side][0] += 1
            entry[side][1] += span.duration_us / 1000
    lines = [
        Line(
            name=name, service=service, counts=(int(a[0]), int(b[0])), lengths_ms=(a[1], b[1]),
        )
        for (name, service), (a, b) in sums.items()
    ]  # fmt: skip
    return sorted(lines, key=lambda line: (-line.size_ms, line.name))


urlpatterns = [
    path("traces", trace_list, name="traces"),
    path("traces/<str:trace_id>", trace_page, name="trace"),
    path("traces/<str:trace_id>/compare", compare_page, name="trace-compare"),
]
