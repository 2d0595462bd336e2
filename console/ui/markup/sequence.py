"""A flow as a sequence diagram: who published what to whom, each try, each wait. Top to bottom, not to scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from console.ui.markup import icons, numbers
from console.ui.markup.text import visible
from messaging.queries.flows import Flow, FlowAttempt, FlowDelivery, FlowMessage

FIRST_X, LAST_X, NARROWEST, MARGIN = 152, 1120, 152, 80
TOP, PITCH = 84, 52
WORTH_A_ROW = 1.0
"""Seconds between two tries from which on the wait is a row of its own."""
OUTCOMES = {
    "handled": "handled", "ignored": "discarded", "filtered": "discarded", "retried": "retrying",
    "postponed": "scheduled", "dead_lettered": "dead", "crashed": "dead", "dropped": "dead",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row: a message with its first tries, a later try, or a wait."""

    at: datetime
    message: FlowMessage
    delivery: FlowDelivery | None = None
    attempt: FlowAttempt | None = None
    waits_from: FlowAttempt | None = None


@dataclass
class Columns:
    """The lifelines: producers first, then consumers as they come."""

    names: dict[str, int] = field(default_factory=dict)
    producers: set[str] = field(default_factory=set)

    def x(self, name: str) -> int:
        return FIRST_X + self.names[name] * self.pitch

    @property
    def pitch(self) -> int:
        spread = (LAST_X - FIRST_X) // max(1, len(self.names) - 1)
        return max(NARROWEST, min(spread, 260))

    @property
    def width(self) -> int:
        return max(1200, FIRST_X + (len(self.names) - 1) * self.pitch + MARGIN)


def rows_of(flow: Flow) -> list[Row]:
    """Return the diagram's rows by time."""
    rows = []
    for message in flow.messages:
        rows.append(Row(message.published_at, message))
        for delivery in message.deliveries:
            for place, attempt in enumerate(delivery.attempts):
                if place:
                    rows.append(Row(attempt.started_at, message, delivery, attempt))
                after = delivery.attempts[place + 1] if place + 1 < len(delivery.attempts) else None
                if _waited(attempt, after, flow.now) and (after or delivery.due_at):
                    rows.append(Row(attempt.ended_at, message, delivery, after, waits_from=attempt))
    return sorted(rows, key=lambda row: row.at)


def _waited(attempt: FlowAttempt, after: FlowAttempt | None, now: datetime) -> bool:
    until = after.started_at if after else now
    return attempt.next_at is not None and (until - attempt.ended_at).total_seconds() >= WORTH_A_ROW


def columns_of(rows: Iterable[Row]) -> Columns:
    columns, seen = Columns(), {row.message.id: row.message for row in rows}
    for message in seen.values():
        if not message.publisher:
            columns.producers.add(origin(message))
            columns.names.setdefault(origin(message), len(columns.names))
    for message in seen.values():
        for name in (origin(message), *(delivery.consumer for delivery in message.deliveries)):
            columns.names.setdefault(name, len(columns.names))
    return columns


def origin(message: FlowMessage) -> str:
    """Return the lifeline that a message comes from; "source:" keeps a producer apart from a consumer of its name."""
    return message.publisher or f"source:{message.source}"


def render(flow: Flow, rows: list[Row]) -> SafeString:
    columns = columns_of(rows)
    height = TOP + len(rows) * PITCH + (40 if flow.is_running else 4)
    parts, seen = [], ""
    for place, row in enumerate(rows):
        y = TOP + place * PITCH
        offset = numbers.milliseconds((row.at - flow.started_at).total_seconds() * 1000)
        parts.append(_row(flow, columns, row, y, offset if offset != seen else ""))
        seen = offset
    lives = format_html_join(
        "", '<line class="life" x1="{0}" x2="{0}" y1="44" y2="{1}"/>',
        ((columns.x(name), height - (28 if flow.is_running else 4)) for name in columns.names),
    )  # fmt: skip
    now = _now(columns.width, height - 20) if flow.is_running else ""
    is_wide = columns.width > 1200
    return format_html(
        '<svg class="seq{}" viewBox="0 0 {} {}" {} role="img" aria-label="{}">{}{}{}{}{}</svg>',
        " is-wide" if is_wide else "", columns.width, height,
        format_html('width="{}" height="{}"', columns.width, height) if is_wide else "",
        f"Sequence of {len(flow.messages)} messages between {len(columns.names)} services and consumers",
        _stripes(rows, columns.width), lives, _heads(columns), mark_safe("".join(parts)), now,  # noqa: S308
    )  # fmt: skip


def _heads(columns: Columns) -> SafeString:
    def words(name: str) -> tuple[str, str]:
        if name in columns.producers:
            return name.removeprefix("source:"), "producer"
        area, _, short = name.rpartition(".")
        return short, area.rpartition(".")[2] or "consumer"

    return format_html_join(
        "",
        '<g><title>{5}</title><rect class="box" x="{0}" y="4" width="{4}" height="40" rx="6"/>'
        '<text class="h" x="{1}" y="21" text-anchor="middle">{2}</text>'
        '<text class="q" x="{1}" y="37" text-anchor="middle">{3}</text></g>',
        (
            (columns.x(name) - 68, columns.x(name), _cut(words(name)[0], 19), _cut(words(name)[1], 22), 136, name)
            for name in columns.names
        ),
    )


def _cut(text: str, most: int) -> str:
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _stripes(rows: list[Row], width: int) -> SafeString:
    return format_html_join(
        "", '<rect class="stripe" x="0" y="{}" width="{}" height="{}"/>',
        ((TOP + place * PITCH - 17, width, PITCH - 8) for place, row in enumerate(rows) if row.waits_from),
    )  # fmt: skip


def _now(width: int, y: int) -> SafeString:
    return format_html(
        '<line class="now" x1="64" x2="{0}" y1="{1}" y2="{1}"/><text class="h" x="56" y="{2}" text-anchor="end">now'
        '</text><circle class="now" cx="64" cy="{1}" r="3"/>', width, y, y + 4,
    )  # fmt: skip


def _row(flow: Flow, columns: Columns, row: Row, y: int, offset: str) -> SafeString:
    time = format_html('<text class="q" x="72" y="{}" text-anchor="end">{}</text>', y + 4, offset)
    if row.waits_from and row.delivery:
        return format_html("{}{}", time, _wait(flow, columns, row, y))
    if row.attempt and row.delivery:
        word = f"attempt {row.attempt.number}"
        return format_html("{}{}", time, _act(columns, row.delivery, row.attempt, y, word))
    return format_html("{}{}", time, _message(flow, columns, row.message, y))


def _message(flow: Flow, columns: Columns, message: FlowMessage, y: int) -> SafeString:
    """Draw a message's arrows, the longest first, so that a bold one lies on top; then the first tries."""
    start = columns.x(origin(message))
    arrows = [_arrow(start, columns.x(one.consumer), y, one.is_critical) for one in _far_first(columns, message, start)]
    acts = [_first(flow, columns, message, one, y) for one in message.deliveries]
    name = _cut(message.type.rpartition(".")[2], 26)
    text = format_html(
        '<rect class="back" x="{0}" y="{1}" width="{2}" height="16"/><a href="/messages/{5}"><text class="m-type" '
        'x="{3}" y="{4}">{6}<title>{7}</title></text></a>',
        start + 8, y - 20, len(name) * 7 + 8, start + 12, y - 8, message.id, name, visible(message.type),
    )  # fmt: skip
    dot = format_html('<circle class="tip" cx="{}" cy="{}" r="2.5"/>', start, y)
    return format_html("{}{}{}{}", mark_safe("".join(arrows)), dot, mark_safe("".join(acts)), text)  # noqa: S308


def _far_first(columns: Columns, message: FlowMessage, start: int) -> list[FlowDelivery]:
    far = sorted(message.deliveries, key=lambda one: (one.is_critical, -abs(columns.x(one.consumer) - start)))
    return [one for one in far if columns.x(one.consumer) != start]


def _arrow(start: int, end: int, y: int, is_critical: bool) -> SafeString:
    back = 5 if end > start else -5
    crit = " is-crit" if is_critical else ""
    return format_html(
        '<path class="arrow{0}" d="M{1} {2}H{3}"/><path class="tip{0}" d="M{4} {2}l{5} -4v8z"/>',
        crit, start, y, end - back - (1 if back > 0 else -1), end - back, -8 if back > 0 else 8,
    )  # fmt: skip


def _first(flow: Flow, columns: Columns, message: FlowMessage, delivery: FlowDelivery, y: int) -> SafeString:
    if delivery.attempts:
        first = delivery.attempts[0]
        word = f"attempt {first.number}" if len(delivery.attempts) > 1 or first.is_failure else ""
        return _act(columns, delivery, first, y, word)
    waited = numbers.span(max(0.0, (flow.now - message.published_at).total_seconds()))
    why = "consumer is paused" if delivery.status == "paused" else icons.look(delivery.status)[1].lower()
    return _box(columns, delivery, y, icons.look(delivery.status)[0], f"waits {waited}", why, is_open=True)


def _act(columns: Columns, delivery: FlowDelivery, attempt: FlowAttempt, y: int, word: str) -> SafeString:
    length = numbers.milliseconds(attempt.duration_us / 1000)
    state = OUTCOMES.get(attempt.outcome, "pending")
    ended = icons.look(attempt.outcome)[1].lower()
    first = f"{word} {ended}".strip() if not attempt.is_failure or not word else word
    if attempt.outcome in {"dead_lettered", "crashed"}:
        first = f"{word}, {ended}".removeprefix(", ")
    error = _cut(attempt.error_type.rpartition(".")[2], 20)
    return _box(columns, delivery, y, state, first, f"{error}, {length}" if error else length)


def _box(
    columns: Columns, delivery: FlowDelivery, y: int, state: str, first: str, second: str, *, is_open: bool = False
) -> SafeString:
    x = columns.x(delivery.consumer)
    is_last = _is_last(columns, delivery.consumer)
    return format_html(
        '<rect class="act s-{0}{1}" x="{2}" y="{3}" width="10" height="28" rx="2"/>'
        '<text class="st s-{0}" x="{4}" y="{5}" text-anchor="{6}">{7}</text>'
        '<text class="q" x="{4}" y="{8}" text-anchor="{6}">{9}</text>',
        state, " is-open" if is_open else "", x - 5, y, x - 14 if is_last else x + 14, y + 13,
        "end" if is_last else "start", first, y + 28, second,
    )  # fmt: skip


def _wait(flow: Flow, columns: Columns, row: Row, y: int) -> SafeString:
    assert row.waits_from is not None
    assert row.delivery is not None
    x, before = columns.x(row.delivery.consumer), row.waits_from
    due = before.next_at or row.at
    length = numbers.span(max(0.0, round((due - before.ended_at).total_seconds(), 1)))
    is_last = _is_last(columns, row.delivery.consumer)
    words = x - 14 if is_last else x + 14
    back = format_html(
        '<rect class="back-stripe" x="{}" y="{}" width="230" height="34"/>', x - 236 if is_last else x + 6, y - 14
    )
    return format_html(
        '{0}<path class="wait" d="M{1} {2}V{3}"/><g class="s-scheduled"><text class="st" x="{4}" y="{5}" '
        'text-anchor="{6}">{7}</text><text class="q" x="{4}" y="{8}" text-anchor="{6}">{9}</text></g>',
        back, x, y - 22, y + 30, words, y - 1, "end" if is_last else "start",
        f"waits {length} for attempt {before.number + 1}", y + 14,
        f"a row, due {due:%H:%M:%S}.{due.microsecond // 1000:03d}",
    )  # fmt: skip


def _is_last(columns: Columns, consumer: str) -> bool:
    """Say whether words have to stand on the left of a lifeline, because nothing is on its right."""
    return columns.names[consumer] == len(columns.names) - 1 and len(columns.names) > 2
