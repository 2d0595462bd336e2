"""Deliver one claim: optimistic chunks, single messages where a chunk fails, and the three guarantees.

Why a chunk runs without savepoints: nearly all of its handlers succeed, so one commit serves them all. When one
fails, everything rolls back; that message runs in a transaction of its own, and its neighbours as smaller chunks.
The rerun costs nobody a failure.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.utils import DatabaseError

from messaging import failpoints
from messaging.consumers import Consumer
from messaging.database import put, store
from messaging.database.connections import is_connection_error, must_run_again, waited_too_long
from messaging.database.statements import Claimed, Turn
from messaging.delivery import gate, settling, spans
from messaging.delivery.execution import Execution, execute, is_late
from messaging.delivery.presence import pause
from messaging.delivery.sizing import Sizer
from messaging.errors import BreakerOpen, MessageExpired, MessagingError, StaleClaim
from messaging.settings import options

log = logging.getLogger("messaging.delivery")
CONFLICT_TRIES = 8
"""How often a transaction that lost a serialisation conflict runs again before its deliveries are given back."""


class Contended(MessagingError):
    """A delivery lost the same rows to others again and again; it is given back at no cost."""


class _ChunkFailed(Exception):
    """A handler of the chunk failed: roll back. ``place`` is its position among the rows that ran together."""

    def __init__(self, place: int = 0) -> None:
        self.place = place


class _Conflict(Exception):
    """The database asks for the whole transaction again, for the reason in ``error``."""

    def __init__(self, error: DatabaseError) -> None:
        self.error = error


def deliver_claim(consumer: Consumer, token: UUID, sizer: Sizer, *, is_lone: bool = False) -> None:
    """Run every delivery that bears ``token`` and settle it. ``is_lone``: it is known to be no more than one.

    Raises:
        DatabaseError, InterfaceError: the connection was lost; no outcome is known, nothing was half done.
        StaleClaim, Contended: deliveries are left under the token; the caller gives them back.
    """
    if consumer.guarantee == "exactly_once" and is_lone:
        _deliver_alone(consumer, token, None, sizer)
    elif consumer.guarantee == "exactly_once":
        _deliver_chunk(consumer, token, None, sizer)
    elif consumer.guarantee == "at_least_once" and not consumer.is_ordered and not consumer.is_gated:
        _deliver_all_outside(consumer, token, sizer)
    else:
        for row in _read(consumer, token):
            if consumer.is_ordered and not _may_run(token, row):
                continue  # one before it with the same key failed or was taken over: it waits its turn
            if consumer.guarantee == "at_least_once":
                _deliver_outside(consumer, token, row, sizer)
            else:
                _deliver_at_most_once(consumer, token, row, sizer)


def _read(consumer: Consumer, token: UUID) -> list[Claimed]:
    with transaction.atomic():
        rows = store().lock(token=token, in_order=consumer.is_ordered)
    spans.link(rows)
    return rows


def _may_run(token: UUID, row: Claimed) -> bool:
    with transaction.atomic():
        return bool(store().lock(token=token, only=row.message_id, in_order=True, is_patient=True))


def _deliver_chunk(consumer: Consumer, token: UUID, only: Sequence[UUID] | None, sizer: Sizer) -> None:
    rows: list[Claimed] = []
    fresh: list[Claimed] = []
    by_themselves: list[Claimed] = []
    done: list[Execution] = []
    try:
        with failpoints.atomic("chunk"):
            turn = Turn(consumer.name, is_taken=sizer.takes_turns)
            locked = store().lock(token=token, in_order=consumer.is_ordered, turn=turn)
            rows = [row for row in locked if only is None or row.message_id in only]
            if only is None:
                spans.link(rows)
            # What failed before is likely to fail again: it runs alone and spares its neighbours a rollback.
            is_calm = {row.message_id: len(rows) > 1 and not row.failures and not row.is_expired for row in rows}
            by_themselves = [row for row in rows if not is_calm[row.message_id]]
            fresh = [row for row in rows if is_calm[row.message_id]]
            if fresh:
                done = _run_together(consumer, token, fresh, sizer)
            make_callbacks_robust()
    except _ChunkFailed as failed:
        sizer.shrink()
        _deliver_around(consumer, token, fresh, failed.place, sizer)
        _deliver_each(consumer, token, by_themselves, sizer)
    except DatabaseError as error:
        if not rows and waited_too_long(error):
            raise Contended("its turn did not come in time") from error
        if is_connection_error(error) or not rows:
            raise
        if not must_run_again(error):  # a constraint checked at COMMIT: each message's own commit tells whose it was
            _deliver_each(consumer, token, rows, sizer)
            return
        _take_turns(sizer)
        _halve(consumer, token, rows, sizer)
    except _Conflict as conflict:
        _take_turns(sizer)
        if waited_too_long(conflict.error):
            _give_way(sizer)
        _halve(consumer, token, rows, sizer)
    else:
        tell(consumer, token, done)
        ran = {execution.row.message_id for execution in done}
        _deliver_each(consumer, token, [row for row in rows if row.message_id not in ran], sizer)


def _run_together(consumer: Consumer, token: UUID, rows: Sequence[Claimed], sizer: Sizer) -> list[Execution]:
    """Run one after the other and settle; what expired meanwhile is left out, which costs the others no rollback."""
    executions = []
    for place, row in enumerate(rows):
        if is_late(row):
            continue
        execution = execute(consumer, row)
        sizer.note(execution.duration_us)
        if execution.error is not None:
            if isinstance(execution.error, DatabaseError) and is_conflict(execution.error):
                raise _Conflict(execution.error)
            raise _ChunkFailed(place)
        executions.append(execution)
    if executions:
        settling.settle_done(token, executions)
    return executions


def _deliver_around(consumer: Consumer, token: UUID, rows: Sequence[Claimed], place: int, sizer: Sizer) -> None:
    """Run the failed message alone, those before it (which succeeded) and those after it as chunks again."""
    before, after = [row.message_id for row in rows[:place]], [row.message_id for row in rows[place + 1 :]]
    if before:
        _deliver_chunk(consumer, token, before, sizer)
    _deliver_alone(consumer, token, rows[place].message_id, sizer)
    if after:
        _deliver_chunk(consumer, token, after, sizer)


def _take_turns(sizer: Sizer) -> None:
    """Let the consumer's chunks run one after the other for a while: they met on the same rows.

    Raises:
        Contended: they did not yet, so this one comes again in its turn, as large as it is.
    """
    if not store().hint_is_local and sizer.met():  # SQLite has one writer at a time anyway
        raise Contended("it met another chunk on the same rows; they take turns now")


def _give_way(sizer: Sizer) -> None:
    """Leave the rows to the chunk that holds them: two of one consumer in turn are faster than two small ones.

    Raises:
        Contended: unless this happened several times in a row, then smaller chunks are worth a try.
    """
    if sizer.may_give_way():
        pause(random.uniform(0.005, 0.03))  # noqa: S311  jitter, no secret
        raise Contended("another transaction holds its rows")


def _halve(consumer: Consumer, token: UUID, rows: Sequence[Claimed], sizer: Sizer) -> None:
    """Two chunks met on the same rows: wait a little and try smaller ones. Counts for nothing."""
    sizer.shrink()
    pause(random.uniform(0.001, 0.02))  # noqa: S311  jitter, no secret
    ids = [row.message_id for row in rows]
    if len(ids) <= 2:
        _deliver_each(consumer, token, rows, sizer)
        return
    middle = len(ids) // 2
    _deliver_chunk(consumer, token, ids[:middle], sizer)
    _deliver_chunk(consumer, token, ids[middle:], sizer)


def _deliver_each(consumer: Consumer, token: UUID, rows: Sequence[Claimed], sizer: Sizer) -> None:
    for row in rows:
        _deliver_alone(consumer, token, row.message_id, sizer)


def _deliver_alone(consumer: Consumer, token: UUID, message_id: UUID | None, sizer: Sizer) -> None:
    """Run one delivery in a transaction of its own: the one of ``message_id``, or the only one of its claim."""
    for _ in range(CONFLICT_TRIES):
        execution: Execution | None = None
        try:
            with failpoints.atomic("alone"):
                held = store().lock(token=token, only=message_id, in_order=consumer.is_ordered, is_patient=True)
                if not held:
                    return  # rescued meanwhile, or its turn has not come: whoever claims it next runs it
                if message_id is None:
                    spans.link(held)
                execution = execute(consumer, held[0])
                sizer.note(execution.duration_us)
                if execution.error is not None:
                    raise _ChunkFailed
                settling.settle_done(token, [execution])
                make_callbacks_robust()
        except _ChunkFailed:
            assert execution is not None
            if execution.error is not None and not is_conflict(execution.error):
                fail(consumer, token, execution)
                return
        except DatabaseError as error:
            if is_connection_error(error) or execution is None:
                raise
            if not must_run_again(error):
                execution.error = error
                fail(consumer, token, execution)
                return
        else:
            tell(consumer, token, [execution])
            return
        pause(random.uniform(0.002, 0.05))  # noqa: S311  jitter, no secret
    raise Contended("it lost its rows to others again and again")


def _deliver_all_outside(consumer: Consumer, token: UUID, sizer: Sizer) -> None:
    """At least once: handlers run outside a transaction, one after the other; outcomes share one now and then."""
    done: list[Execution] = []
    settled_at = time.monotonic()
    try:
        for row in _read(consumer, token):
            execution = execute(consumer, row)
            sizer.note(execution.duration_us)
            if execution.error is not None:
                fail(consumer, token, execution)
                continue
            done.append(execution)
            if time.monotonic() - settled_at > options().chunk_seconds:  # so much runs again when this process dies
                ready, done = done, []
                _settle_outside(consumer, token, ready)
                settled_at = time.monotonic()
    finally:
        _settle_outside(consumer, token, done)


def _settle_outside(consumer: Consumer, token: UUID, done: Sequence[Execution]) -> None:
    if len(done) > 1:
        try:
            with failpoints.atomic("at_least_once"):
                settling.settle_done(token, done)
                make_callbacks_robust()
        except StaleClaim:
            pass  # some were taken over meanwhile: each tells for itself
        else:
            tell(consumer, token, done)
            return
    for execution in done:
        _settle_one_outside(consumer, token, execution)


def _deliver_outside(consumer: Consumer, token: UUID, row: Claimed, sizer: Sizer) -> None:
    """At least once: the handler runs outside a transaction, then its outcome is settled by itself."""
    execution = execute(consumer, row)
    sizer.note(execution.duration_us)
    if execution.error is not None:
        fail(consumer, token, execution)
        return
    _settle_one_outside(consumer, token, execution)


def _settle_one_outside(consumer: Consumer, token: UUID, execution: Execution) -> None:
    row = execution.row
    try:
        with failpoints.atomic("at_least_once"):
            if store().lock(token=token, only=row.message_id, is_patient=True):
                settling.settle_done(token, [execution])
                make_callbacks_robust()
    except StaleClaim:
        log.warning("%s: %s was taken over while its handler ran.", consumer.name, row.message_id)
    tell(consumer, token, [execution])


def _deliver_at_most_once(consumer: Consumer, token: UUID, row: Claimed, sizer: Sizer) -> None:
    """At most once: settled first. A failure is recorded as dropped and never runs again."""
    execution = Execution(row=row, started_at=row.locked_at)
    with failpoints.atomic("at_most_once"):
        held = store().lock(token=token, only=row.message_id, is_patient=True)
        if not held:
            return
        if held[0].is_expired:
            execution.error = MessageExpired()
        else:
            settling.settle_done(token, [execution])
    if execution.error is not None:
        fail(consumer, token, execution)
        return
    execution = execute(consumer, row)
    sizer.note(execution.duration_us)
    with failpoints.atomic("at_most_once.outcome"):
        if execution.error is not None:
            settling.record_dropped(execution)
        elif execution.published:
            put(execution.published)
    if execution.error is None:
        spans.finish(execution, "handled")
    tell(consumer, token, [execution])


def fail(consumer: Consumer, token: UUID, execution: Execution) -> None:
    """Write what follows a failed execution, unless it was taken over meanwhile."""
    assert execution.error is not None
    try:
        settling.settle_failed(consumer, token, execution)
    except StaleClaim:
        log.warning("%s: %s was taken over while it failed.", consumer.name, execution.row.message_id)
    tell(consumer, token, [execution])


def tell(consumer: Consumer, token: UUID, executions: Sequence[Execution]) -> None:
    """Tell the breakers what came of executions.

    Raises:
        BreakerOpen: one opened: the rest of the claim is to be given back, not run.
    """
    if consumer.is_gated and executions and gate.report(consumer, token, executions):
        raise BreakerOpen


def is_conflict(error: BaseException) -> bool:
    """Say whether the database asks for the whole transaction again."""
    return isinstance(error, DatabaseError) and (must_run_again(error) or is_connection_error(error))


def make_callbacks_robust() -> None:
    """A handler's on_commit callback runs after its commit: its failure must not look like the delivery's."""
    waiting: list[tuple[Any, ...]] = list(connection.run_on_commit)
    connection.run_on_commit = [(sids, callback, True) for sids, callback, _ in waiting]  # type: ignore[misc]
