"""Spans of deliveries: one for each claim, linked to its messages, and in each message's trace one for each execution.

An execution's span ends once its outcome is committed. One that came to none (its chunk rolled back for a neighbour's
failure, or another worker took over) ends with its claim as "run_again": what happened in it has its parent so. What
failed is recorded whatever the sampler said: the span is made afterwards, under the id that follow-ups may already name
as their parent.

A replay is a trace of its own, the same for all attempts of its run, and linked to the message's. A batch has one span,
in the claim's trace and linked to its messages, and afterwards each message has one in its own trace, linked to it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from messaging import tracing
from messaging.database.statements import Claimed

DONE = frozenset({"handled", "ignored"})
RUN_AGAIN = "run_again"
_SETTLED = {"retried": "retry", "postponed": "retry", "dead_lettered": "dead-letter"}


class Ended(Protocol):
    """An execution, as far as its span needs it."""

    row: Claimed
    started_at: datetime
    duration_us: int
    error: Exception | SystemExit | None
    span: Any
    batch: str


_open: ContextVar[list[Ended] | None] = ContextVar("open_executions", default=None)
"""Executions of the claim under way whose spans have not ended."""


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
    if span.is_recording():
        claim = tracing.start(
            f"claim {consumer}", kind=SpanKind.CLIENT, context=context, start_ns=began_ns,
            attributes={**common, **receive},
        )  # fmt: skip
        claim.end()
    token = _open.set([])
    with tracing.current(span):
        try:
            yield
        finally:
            for execution in _open.get() or ():
                _run_again(execution)
            _open.reset(token)
            span.end()


def link(rows: Sequence[Claimed]) -> None:
    """Link the claim's span to the messages it holds."""
    span = get_current_span()
    if span.is_recording():
        for each in tracing.links_to(row.traceparent for row in rows if row.traceparent):
            span.add_link(each.context)


def start(execution: Ended) -> None:
    """Give an execution that begins now its span; not recording where its trace is not."""
    row = execution.row
    if _is_plain(row) and not tracing.is_sampled(row.traceparent):
        # Most messages of a sampled system: nothing of the SDK is paid for.
        context = SpanContext(int(row.traceparent[3:35], 16), random.getrandbits(64) or 1, is_remote=False)
        execution.span = NonRecordingSpan(context)
        return
    execution.span = _process(row)
    remember(execution)


def reserve(execution: Ended, *, batch: Any) -> str:
    """Keep a place for the span of one message of a batch, which is made afterwards; return its traceparent."""
    execution.span, execution.batch = _reserved(execution.row), tracing.traceparent_of(batch)
    return tracing.traceparent_of(execution.span)


def remember(execution: Ended) -> None:
    """See to it that an execution's span is there at the end of the claim, whatever came of it."""
    waiting = _open.get()
    if waiting is not None:
        waiting.append(execution)


def _reserved(row: Claimed) -> NonRecordingSpan:
    is_plain = _is_plain(row)
    if row.run > 1:
        trace_id = _ids_of_replay(row)[0]
    else:
        trace_id = int(row.traceparent[3:35], 16) if tracing.parse(row.traceparent) else random.getrandbits(128)
    flags = TraceFlags.DEFAULT if is_plain and not tracing.is_sampled(row.traceparent) else TraceFlags.SAMPLED
    return NonRecordingSpan(
        SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False, trace_flags=TraceFlags(flags))
    )


def _ids_of_replay(row: Claimed) -> tuple[int, int]:
    return tracing.replay_ids(row.message_id, row.consumer, row.run)


def _is_plain(row: Claimed) -> bool:
    return row.run == 1 and not row.failures and not row.crashes and tracing.parse(row.traceparent) is not None


def _process(
    row: Claimed, *, start_ns: int | None = None, ids: tuple[int, int] | None = None, is_kept: bool = False,
    batch: str = "",
) -> Any:  # fmt: skip
    attributes: dict[str, Any] = {
        "messaging.system": "signalbox", "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.destination.name": row.type, "messaging.message.id": str(row.message_id),
        "messaging.message.conversation_id": row.correlation_id, "messaging.consumer.group.name": row.consumer,
        "signalbox.run": row.run, "signalbox.attempt": row.failures + row.crashes + 1,
    }  # fmt: skip
    if is_kept or not _is_plain(row):
        attributes[tracing.KEEP] = True
    return tracing.start(
        f"process {row.consumer}",
        kind=SpanKind.CONSUMER,
        # What lost its context begins a trace of its own.
        context=_in_replay(row) if row.run > 1 else tracing.context_from(row.traceparent, row.headers) or OtelContext(),
        start_ns=start_ns,
        links=[each for each in (row.traceparent if row.run > 1 else "", batch) if each],
        ids=ids,
        attributes=attributes,
    )


def _in_replay(row: Claimed) -> OtelContext:
    trace_id, span_id = _ids_of_replay(row)
    flags = TraceFlags(TraceFlags.SAMPLED)
    return set_span_in_context(NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)))


def _begin_replay(row: Claimed, until_ns: int) -> None:
    """Make the root of a replay's trace: from its entry into the outbox to its first attempt."""
    at = min(_nanoseconds(row.created_at), until_ns)
    tracing.start(
        f"replay {row.consumer}", kind=SpanKind.INTERNAL, context=OtelContext(), start_ns=at,
        links=[row.traceparent], ids=_ids_of_replay(row),
        attributes={
            "messaging.system": "signalbox", "messaging.operation.name": "replay",
            "messaging.destination.name": row.type, "messaging.message.id": str(row.message_id),
            "messaging.message.conversation_id": row.correlation_id, "messaging.consumer.group.name": row.consumer,
            "signalbox.run": row.run, tracing.KEEP: True,
        },
    ).end(until_ns)  # fmt: skip


def after_commit(executions: Iterable[Ended], outcome: str, *, next_at: datetime | None = None) -> None:
    """End the executions' spans once the open transaction has committed."""
    if tracing.is_on():
        for execution in executions:
            if outcome not in DONE or _is_kept(execution):
                transaction.on_commit(partial(finish, execution, outcome, next_at=next_at), robust=True)


def finish(execution: Ended, outcome: str, *, next_at: datetime | None = None) -> None:
    """End an execution's span with what came of it; make it now where it was not recorded but has to be kept."""
    span = _span_to_keep(execution, outcome)
    execution.span = None
    if span is None or not span.is_recording():
        return
    span.set_attribute("signalbox.outcome", outcome)
    if execution.error is not None:
        span.set_attribute("error.type", type(execution.error).__qualname__)
        span.record_exception(execution.error)
    if outcome not in DONE:
        span.set_status(Status(StatusCode.ERROR, str(execution.error)[:500] if execution.error else outcome))
    span.end(span.start_time + execution.duration_us * 1000)
    row = execution.row
    if row.run > 1 and not row.failures:  # of the attempts of a run the first: later ones have failures behind them
        _begin_replay(row, span.start_time)
    if outcome in _SETTLED:
        _settled(span, execution.row, _SETTLED[outcome], next_at)


def _run_again(execution: Ended) -> None:
    """End the span of an execution that came to no outcome, if that has not happened."""
    span = execution.span
    if span is None or not _is_kept(execution):
        return
    if not span.is_recording():
        span = _made_afterwards(execution)
    span.set_attribute("signalbox.outcome", RUN_AGAIN)
    if execution.error is not None:
        span.set_attribute("error.type", type(execution.error).__qualname__)
    span.end(span.start_time + execution.duration_us * 1000)


def _is_kept(execution: Ended) -> bool:
    """Say whether what went well has a span; one that is settled before it runs has none yet."""
    return execution.span is not None and execution.span.get_span_context().trace_flags.sampled


def _span_to_keep(execution: Ended, outcome: str) -> Any:
    row, span = execution.row, execution.span
    if span is not None and span.is_recording():
        return span
    is_failure = outcome not in DONE
    if not is_failure and not _is_kept(execution):
        return None
    if is_failure and _is_plain(row) and not tracing.is_sampled(row.traceparent):
        _publish_again(row)
    return _made_afterwards(execution, is_kept=is_failure)


def _made_afterwards(execution: Ended, *, is_kept: bool = False) -> Any:
    ids = None
    if execution.span is not None:
        context = execution.span.get_span_context()
        ids = context.trace_id, context.span_id
    return _process(
        execution.row, start_ns=_nanoseconds(execution.started_at), ids=ids, is_kept=is_kept, batch=execution.batch
    )


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
