"""Spans of deliveries: one for each claim, linked to its messages, and in each message's trace one for each execution.

An execution's span ends once its outcome is committed. A run that rolled back (a chunk in which a neighbour failed)
leaves none: its message runs again and has its span then. What failed is recorded whatever the sampler said: the span
is made afterwards, under the id that follow-ups may already name as their parent.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from django.db import transaction
from opentelemetry.context import Context as OtelContext
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from messaging import tracing
from messaging.database.statements import Claimed

DONE = frozenset({"handled", "ignored"})
_SETTLED = {"retried": "retry", "postponed": "retry", "dead_lettered": "dead-letter"}


class Ended(Protocol):
    """An execution, as far as its span needs it."""

    row: Claimed
    started_at: datetime
    duration_us: int
    error: Exception | SystemExit | None
    span: Any


@contextmanager
def delivering(consumer: str, began_ns: int, claimed: int) -> Iterator[None]:
    """Run the block inside the span of a claim and its delivery, a trace of its own, linked to the messages."""
    if not tracing.is_on():
        yield
        return
    common = {"messaging.system": "signalbox", "messaging.consumer.group.name": consumer}
    receive = {"messaging.operation.name": "receive", "messaging.operation.type": "receive"}
    span = tracing.start(
        f"deliver {consumer}", kind=SpanKind.CLIENT, context=OtelContext(), start_ns=began_ns,
        attributes={**common, **receive, "messaging.batch.message_count": claimed},
    )  # fmt: skip
    context = set_span_in_context(span)
    claim = tracing.start(
        f"claim {consumer}", kind=SpanKind.CLIENT, context=context, start_ns=began_ns,
        attributes={**common, **receive},
    )  # fmt: skip
    claim.end()
    with tracing.current(span):
        try:
            yield
        finally:
            span.end()


def link(rows: Sequence[Claimed]) -> None:
    """Link the claim's span to the messages it holds."""
    span = get_current_span()
    if span.is_recording():
        for each in tracing.links_to(row.traceparent for row in rows if row.traceparent):
            span.add_link(each.context)


def start(consumer: str, row: Claimed) -> Any:
    """Return the span of an execution that begins now; not recording where its trace is not."""
    if _is_plain(row) and not tracing.is_sampled(row.traceparent):
        # Most messages of a sampled system: nothing of the SDK is paid for.
        context = SpanContext(int(row.traceparent[3:35], 16), random.getrandbits(64) or 1, is_remote=False)
        return NonRecordingSpan(context)
    return _process(consumer, row)


def _is_plain(row: Claimed) -> bool:
    return row.run == 1 and not row.failures and not row.crashes and tracing.parse(row.traceparent) is not None


def _process(consumer: str, row: Claimed, *, start_ns: int | None = None, ids: tuple[int, int] | None = None) -> Any:
    is_replay = row.run > 1
    attributes: dict[str, Any] = {
        "messaging.system": "signalbox", "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.destination.name": row.type, "messaging.message.id": str(row.message_id),
        "messaging.message.conversation_id": row.correlation_id, "messaging.consumer.group.name": consumer,
        "signalbox.run": row.run, "signalbox.attempt": row.failures + row.crashes + 1,
    }  # fmt: skip
    if ids or not _is_plain(row):
        attributes[tracing.KEEP] = True
    return tracing.start(
        f"process {consumer}",
        kind=SpanKind.CONSUMER,
        # A replay begins a trace of its own; so does what lost its context.
        context=OtelContext() if is_replay else tracing.context_from(row.traceparent, row.headers) or OtelContext(),
        start_ns=start_ns,
        links=[row.traceparent] if is_replay and row.traceparent else [],
        ids=ids,
        attributes=attributes,
    )


def after_commit(executions: Iterable[Ended], outcome: str, *, next_at: datetime | None = None) -> None:
    """End the executions' spans once the open transaction has committed."""
    if tracing.is_on():
        for execution in executions:
            if outcome not in DONE or execution.span is None or execution.span.is_recording():
                transaction.on_commit(partial(finish, execution, outcome, next_at=next_at), robust=True)


def finish(execution: Ended, outcome: str, *, next_at: datetime | None = None) -> None:
    """End an execution's span with what came of it; make it now where it was not recorded but has to be kept."""
    span = _span_to_keep(execution, outcome)
    if span is None or not span.is_recording():
        return
    span.set_attribute("signalbox.outcome", outcome)
    if execution.error is not None:
        span.set_attribute("error.type", type(execution.error).__qualname__)
        span.record_exception(execution.error)
    if outcome not in DONE:
        span.set_status(Status(StatusCode.ERROR, str(execution.error)[:500] if execution.error else outcome))
    span.end(span.start_time + execution.duration_us * 1000)
    if outcome in _SETTLED:
        _settled(span, execution.row, _SETTLED[outcome], next_at)


def _span_to_keep(execution: Ended, outcome: str) -> Any:
    row, span = execution.row, execution.span
    is_failure = outcome not in DONE
    if span is not None and span.is_recording():
        return span
    if not is_failure and (span is not None or not tracing.is_sampled(row.traceparent)):
        return None
    ids = None
    if span is not None:
        context = span.get_span_context()
        ids = context.trace_id, context.span_id
    if is_failure and _is_plain(row) and not tracing.is_sampled(row.traceparent):
        _publish_again(row)
    return _process(row.consumer, row, start_ns=_nanoseconds(execution.started_at), ids=ids)


def _publish_again(row: Claimed) -> None:
    """Make the span of a message's publication, which was not recorded: its trace turned out to be worth keeping."""
    at = _nanoseconds(row.published_at)
    span = tracing.start(
        f"publish {row.type}", kind=SpanKind.PRODUCER, context=OtelContext(), start_ns=at,
        ids=(int(row.traceparent[3:35], 16), int(row.traceparent[36:52], 16)),
        attributes={
            "messaging.system": "signalbox", "messaging.operation.name": "publish", "messaging.operation.type": "send",
            "messaging.destination.name": row.type, "messaging.message.id": str(row.message_id),
            "messaging.message.conversation_id": row.correlation_id, tracing.KEEP: True,
        },
    )  # fmt: skip
    span.end(at)


def _settled(span: Any, row: Claimed, name: str, next_at: datetime | None) -> None:
    attributes: dict[str, Any] = {
        "messaging.system": "signalbox", "messaging.operation.name": name, "messaging.operation.type": "settle",
        "messaging.destination.name": row.type, "messaging.message.id": str(row.message_id),
        "messaging.message.conversation_id": row.correlation_id, "messaging.consumer.group.name": row.consumer,
    }  # fmt: skip
    if next_at is not None:
        attributes["signalbox.next_at"] = next_at.isoformat()
    tracing.start(
        f"{name} {row.consumer}", kind=SpanKind.INTERNAL, context=set_span_in_context(span), attributes=attributes,
        start_ns=span.end_time,
    ).end(max(span.end_time, time.time_ns()))  # fmt: skip


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
