"""One business flow, live: a sequence diagram, what its end waited for, and the tree of causes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET

from console.ui.access import viewer
from console.ui.markup import icons, numbers, sequence, waterfall
from console.ui.markup.waterfall import Fall, share
from console.ui.shared import shared
from messaging.queries.audit import list_audit
from messaging.queries.flows import Flow, FlowAttempt, FlowDelivery, FlowMessage, get_flow
from messaging.queries.statuses import worst

SEQUENCE_ROWS, FALL_ROWS = 60, 200


@require_GET
@viewer
@shared("flow")
def flow_page(request: HttpRequest, correlation_id: str) -> HttpResponse:
    """Show a flow; htmx reads the same address for its part alone."""
    flow = get_flow(correlation_id)
    if flow is None:
        raise Http404("No message of this flow; history older than the retention is gone.")
    tab = "tree" if request.GET.get("tab") == "tree" else "sequence"
    context = {**_head(request, flow), "tab": tab}
    context |= _tree(flow) if tab == "tree" else _sequence(request, flow)
    template = "flows/_flow.html" if request.headers.get("HX-Target") == "flow" else "flows/flow.html"
    return render(request, template, context)


def _head(request: HttpRequest, flow: Flow) -> dict[str, Any]:
    states = [delivery.status for delivery in flow.deliveries]
    states += [message.status for message in flow.messages if not message.deliveries and message.status != "handled"]
    standing = worst(states)
    open_ones = sum(state == standing for state in states)
    return {
        "flow": flow,
        "title": flow.messages[0].key or flow.messages[0].type.rpartition(".")[2],
        "state": standing,
        "state_words": _state_words(standing, open_ones),
        "deliveries": _in_words(states),
        "length_ms": (flow.ended_at - flow.started_at).total_seconds() * 1000,
        "is_frozen": "frozen" in request.GET,
        "records": list_audit(target=f"flow:{flow.correlation_id}").rows,
    }


def _state_words(state: str, count: int) -> str:
    if state == "handled":
        return "All handled"
    word = icons.look(state)[1].lower()
    if state in {"paused", "pending", "scheduled"}:
        return f"{count} {'delivery waits' if count == 1 else 'deliveries wait'}"
    return f"{count} {word}"


def _in_words(states: list[Any]) -> str:
    kinds = sorted(set(states), key=states.count, reverse=True)
    parts = ", ".join(f"{states.count(kind)} {icons.look(kind)[1].lower()}" for kind in kinds)
    return f"{len(states)} {'delivery' if len(states) == 1 else 'deliveries'}{': ' if parts else ''}{parts}"


def _sequence(request: HttpRequest, flow: Flow) -> dict[str, Any]:
    rows, falls = sequence.rows_of(flow), falls_of(flow)
    first = place_of(request, "row", len(rows))
    first_fall = place_of(request, "span", len(falls))
    shown = rows[first : first + SEQUENCE_ROWS]
    return {
        "sequence": sequence.render(flow, shown),
        "window": Window(first=first, shown=len(shown), total=len(rows), step=SEQUENCE_ROWS),
        "falls": falls[first_fall : first_fall + FALL_ROWS],
        "fall_window": Window(
            first=first_fall, shown=len(falls[first_fall : first_fall + FALL_ROWS]), total=len(falls), step=FALL_ROWS
        ),
        "axis": waterfall.axis(_total_us(flow)),
        "parts": parts_of(flow),
    }


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which rows of many are shown."""

    first: int
    shown: int
    total: int
    step: int

    @property
    def is_whole(self) -> bool:
        return self.shown == self.total

    @property
    def begin(self) -> int:
        return self.first + 1

    @property
    def end(self) -> int:
        return self.first + self.shown

    @property
    def earlier(self) -> int | None:
        return max(0, self.first - self.step) if self.first else None

    @property
    def later(self) -> int | None:
        return self.end if self.end < self.total else None


def place_of(request: HttpRequest, name: str, total: int) -> int:
    given = request.GET.get(name, "")
    return min(int(given), max(0, total - 1)) if given.isdecimal() and len(given) < 7 else 0


def _total_us(flow: Flow) -> float:
    end = flow.now if any(not each.attempts for each in flow.deliveries) and flow.is_running else flow.ended_at
    return max(1.0, (end - flow.started_at) / timedelta(microseconds=1))


def falls_of(flow: Flow) -> list[Fall]:
    """Return the flow as a waterfall: each message's publication, every try and every wait."""
    total, falls = _total_us(flow), []
    for message in flow.tree:
        if not message.cause:
            falls.append(_publication(flow, message, total))
        for delivery in message.deliveries:
            falls += _tries(flow, message, delivery, total)
    return falls


def _publication(flow: Flow, message: FlowMessage, total: float) -> Fall:
    return Fall(
        name=message.type.rpartition(".")[2], note=message.source, icon="terminal", state="", depth=message.depth,
        start=share(message.published_at, flow.started_at, total), length=0, duration="", label="published",
        is_critical=False, href=reverse("message", args=[message.id]),
    )  # fmt: skip


def _tries(flow: Flow, message: FlowMessage, delivery: FlowDelivery, total: float) -> list[Fall]:
    area, _, name = delivery.consumer.rpartition(".")
    falls: list[Fall] = []
    href, depth = reverse("message", args=[message.id]), message.depth + 1
    published = [each for each in flow.messages if each.cause == message.id and each.publisher == delivery.consumer]
    for place, attempt in enumerate(delivery.attempts):
        note = area.rpartition(".")[2] + (f", attempt {attempt.number}" if len(delivery.attempts) > 1 else "")
        falls.append(
            Fall(
                name=name, note=note.removeprefix(", "), icon=sequence.OUTCOMES.get(attempt.outcome, "pending"),
                state=sequence.OUTCOMES.get(attempt.outcome, "pending"), depth=depth,
                start=share(attempt.started_at, flow.started_at, total), length=attempt.duration_us / total,
                duration=numbers.milliseconds(attempt.duration_us / 1000), is_critical=attempt.is_critical, href=href,
                label=_label(attempt, published),
            )
        )  # fmt: skip
        after = delivery.attempts[place + 1] if place + 1 < len(delivery.attempts) else None
        until = after.started_at if after else flow.now
        waited = (until - attempt.ended_at).total_seconds()
        if attempt.next_at and waited >= sequence.WORTH_A_ROW and (after or delivery.due_at):
            falls.append(
                Fall(
                    name="wait", note="delayed retry", icon="scheduled", state="", kind="wait", depth=depth,
                    start=share(attempt.ended_at, flow.started_at, total), length=waited * 1e6 / total,
                    duration=numbers.milliseconds(waited * 1000), is_critical=attempt.is_critical, href=href,
                )
            )  # fmt: skip
    if not delivery.attempts:
        waited = max(0.0, (flow.now - message.published_at).total_seconds())
        state, word = icons.look(delivery.status)
        falls.append(
            Fall(
                name=name, note=f"{area.rpartition('.')[2]}, {word.lower()}".removeprefix(", "),
                icon=state, state=state, kind="open", depth=depth, length=waited * 1e6 / total, label="not started",
                start=share(message.published_at, flow.started_at, total), duration=numbers.span(waited), href=href,
            )
        )  # fmt: skip
    return falls


def _label(attempt: FlowAttempt, published: list[FlowMessage]) -> str:
    if attempt.error_type:
        return attempt.error_type.rpartition(".")[2]
    names = [each.type.rpartition(".")[2] for each in published if each.published_at >= attempt.started_at]
    return f"publishes {', '.join(names[:3])}" if names else ""


def parts_of(flow: Flow) -> list[tuple[str, float, str]]:
    """Return what the critical path consists of: (state, seconds, words)."""
    work = failed = waits = 0.0
    for delivery in flow.deliveries:
        if not delivery.is_critical:
            continue
        for place, attempt in enumerate(delivery.attempts):
            length = attempt.duration_us / 1e6
            failed, work = (failed + length, work) if attempt.is_failure else (failed, work + length)
            after = delivery.attempts[place + 1 : place + 2]
            if after and attempt.next_at:
                waits += max(0.0, (after[0].started_at - attempt.ended_at).total_seconds())
    rest = max(0.0, (flow.ended_at - flow.started_at).total_seconds() - work - failed - waits)
    parts = [
        ("scheduled", waits, "waits for a retry"), ("retrying", failed, "failed attempts"), ("handled", work, "work"),
        ("pending", rest, "delivery"),
    ]  # fmt: skip
    return [part for part in parts if part[1] > 0.0005]


def _tree(flow: Flow) -> dict[str, Any]:
    return {"tree": [(message, min(message.depth, 8)) for message in flow.tree]}


urlpatterns = [path("flows/<path:correlation_id>", flow_page, name="flow")]
