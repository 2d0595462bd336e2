"""Advance the replays that are under way, in steps of the scheduler, each at its own rate."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q

from messaging import audit, failpoints, signals
from messaging.actors import task
from messaging.consumers import Consumer, find_consumer
from messaging.database import store
from messaging.envelope import Envelope
from messaging.failure import storable
from messaging.ids import new_id
from messaging.models import ConsumerState, HistoryReplay, Message
from messaging.replays import selecting
from messaging.replays.report import with_finding
from messaging.replays.shadow import run_in_shadow

log = logging.getLogger("messaging.replays")
TICK_SECONDS = 2.0
MOST_PER_STEP = 2_000
LEASE = timedelta(minutes=2)
"""A process that has not noted a chunk in shadow by then is taken for dead; running it twice changes nothing."""
State = HistoryReplay.State


def advance_replays(*, seconds: float = TICK_SECONDS) -> int:
    """Take one step of each replay that is due; return how many messages were looked at."""
    now = store().now()
    due = HistoryReplay.objects.filter(state=State.RUNNING, next_at__lte=now).order_by("next_at")
    done = 0
    for replay in due:
        try:
            done += _step(replay, seconds)
        except Exception as error:
            log.exception("The replay %s could not go on.", replay.id)
            HistoryReplay.objects.filter(id=replay.id, state=State.RUNNING).update(
                last_error=storable(f"{type(error).__name__}: {error}")[:2000],
                next_at=store().now() + timedelta(seconds=10),
            )
    if due:
        signals.changed.send_robust(None, topics=frozenset({"operations"}))
    return done


def _step(replay: HistoryReplay, seconds: float) -> int:
    consumer = find_consumer(replay.consumer)
    if consumer is None:
        raise LookupError(f"{replay.consumer} is not declared in this release.")
    if replay.mode == HistoryReplay.Mode.REAL:
        return _send_on(replay.id, consumer)
    return _shadow_on(replay, consumer, seconds)


def allowance(replay: HistoryReplay) -> int:
    """Return how many messages one step may take."""
    return min(MOST_PER_STEP, max(1, int(replay.rate * TICK_SECONDS)))


def _send_on(id: UUID, consumer: Consumer) -> int:
    """Send the next messages: their outbox rows, the cursor and the counts are one transaction."""
    with failpoints.atomic("replay_step"):
        replay = HistoryReplay.objects.select_for_update().filter(id=id, state=State.RUNNING).first()
        now = store().now()
        if replay is None or replay.next_at > now:
            return 0  # another process got there first, or somebody aborted
        # Replays of one consumer one after another: each sees what the other has sent, and leaves it out.
        ConsumerState.objects.select_for_update().filter(name=consumer.name).first()
        found = selecting.messages_of(replay)
        rows = list((found if consumer.filter else found.defer("body"))[: allowance(replay)])
        out = selecting.left_out(replay, consumer, rows)
        sent = [row for row in rows if row.id not in out]
        runs = selecting.next_runs(consumer.name, [row.id for row in sent])
        for row in sent:
            store().direct(_new_run(row, consumer.name, runs.get(row.id, 1)))
        _note(replay, rows, done=len(sent), out=out.values(), now=now)
    return len(rows)


def _shadow_on(replay: HistoryReplay, consumer: Consumer, seconds: float) -> int:
    token, now = new_id(), store().now()
    free = Q(token=None) | Q(leased_until__lt=now)
    mine = HistoryReplay.objects.filter(free, id=replay.id, state=State.RUNNING, cursor=replay.cursor)
    if not mine.update(token=token, leased_until=now + LEASE):
        return 0  # another process got there first
    try:
        return _run_chunk(replay, consumer, token, seconds)
    finally:
        HistoryReplay.objects.filter(id=replay.id, token=token).update(token=None, leased_until=None)


def _run_chunk(replay: HistoryReplay, consumer: Consumer, token: UUID, seconds: float) -> int:
    ends, report = time.monotonic() + seconds, replay.report
    rows = list(selecting.messages_of(replay)[: allowance(replay)])
    out = selecting.left_out_in_shadow(consumer, rows)
    looked_at: list[Message] = []
    done = 0
    for row in rows:
        looked_at.append(row)
        if row.id not in out:
            report = with_finding(report, run_in_shadow(consumer, row), message_id=str(row.id), type=row.type)
            done += 1
        if time.monotonic() > ends:
            break
    seen = [out[row.id] for row in looked_at if row.id in out]
    with failpoints.atomic("replay_shadow"):
        held = HistoryReplay.objects.select_for_update().filter(id=replay.id, token=token, state=State.RUNNING).first()
        if held is None:
            return 0  # aborted, or taken over
        _note(held, looked_at, done=done, out=seen, now=store().now(), report=report, is_cut=len(looked_at) < len(rows))
    return len(looked_at)


def _note(
    replay: HistoryReplay, rows: list[Message], *, done: int, out: Iterable[str], now: Any,
    report: dict[str, Any] | None = None, is_cut: bool = False,
) -> None:  # fmt: skip
    """Write down how far a locked replay is, and end it when nothing is left."""
    counts = Counter(replay.left_out)
    counts.update(out)
    replay.left_out, replay.looked_at, replay.done = dict(counts), replay.looked_at + len(rows), replay.done + done
    replay.report = replay.report if report is None else report
    replay.cursor = rows[-1].id if rows else replay.cursor
    replay.next_at, replay.last_error = now + timedelta(seconds=len(rows) / replay.rate), ""
    if len(rows) < allowance(replay) and not is_cut:
        replay.state, replay.ended_at = State.DONE, now
        audit.record(
            task("scheduler"), "history.replay_done", f"replay:{replay.id}", consumer=replay.consumer, mode=replay.mode,
            looked_at=replay.looked_at, done=replay.done, left_out=dict(counts),
        )  # fmt: skip
    replay.save()


def _new_run(message: Message, consumer: str, run: int) -> Envelope:
    return Envelope(
        id=message.id, type=message.type, version=message.version, kind=message.kind, source=message.source,
        tenant=message.tenant, body=b"", correlation_id=message.correlation_id, causation_id=message.causation_id,
        traceparent=message.traceparent, occurred_at=message.occurred_at, key=message.key, position=message.position,
        consumer=consumer, run=run,
    )  # fmt: skip
