"""Deliver to batch consumers: one call of the handler for many messages, halved until a culprit is alone.

The three guarantees hold for the batch as they do for one message: its effects and outcomes share a transaction
(exactly once), its outcomes are settled after the call (at least once), or before it (at most once, where nothing runs
a second time and so nothing is halved).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from django.db import transaction
from django.db.utils import DatabaseError

from messaging import failpoints
from messaging.consumers import Consumer
from messaging.database import put, store
from messaging.database.connections import is_connection_error, must_run_again
from messaging.database.statements import Claimed
from messaging.delivery import settling, spans
from messaging.delivery.delivering import CONFLICT_TRIES, Contended, fail, is_conflict, make_callbacks_robust, tell
from messaging.delivery.presence import pause
from messaging.delivery.sizing import Sizer
from messaging.delivery.together import Together, execute_together, read_together
from messaging.errors import RetryLater, StaleClaim

log = logging.getLogger("messaging.delivery")


class BatchSizer(Sizer):
    """A batch consumer's claims have the size that it declares."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def limit(self) -> int:
        return self._size


class _Failed(Exception):
    """The handler failed: roll back, then look for the culprit."""


def is_ripe(consumer: Consumer) -> bool:
    """Say whether it is worth claiming: of a batch consumer, enough deliveries are due or the oldest waited enough.

    Claims in parallel may find fewer than were counted here: a smaller batch is harmless.
    """
    batch = consumer.batch
    return batch is None or store().is_ripe(consumer=consumer.name, size=batch.size, seconds=batch.wait)


def deliver_batch(consumer: Consumer, token: UUID, *, count: int) -> None:
    """Run the ``count`` deliveries that bear ``token``, together where nothing speaks against it.

    Raises as ``delivering.deliver_claim``.
    """
    if _deliver(consumer, token, None) < count:
        with transaction.atomic():
            others = store().lock(token=token)
        for row in others:
            _deliver(consumer, token, [row.message_id])


def _take(token: UUID, ids: Sequence[UUID] | None) -> list[Claimed]:
    """Lock and read what still bears the token of ``ids``: a part may have been rescued meanwhile.

    None is what may run together: what failed before is likely to fail again, and spares the others the halving.
    """
    rows = store().lock(token=token)
    if ids is None:
        spans.link(rows)
        return [row for row in rows if not row.failures and not row.is_expired]
    wanted = set(ids)
    return [row for row in rows if row.message_id in wanted]


def _deliver(consumer: Consumer, token: UUID, ids: Sequence[UUID] | None) -> int:
    """Run deliveries together, and in parts where that fails; return how many ran, as far as is known."""
    runs = {"exactly_once": _inside, "at_least_once": _outside, "at_most_once": _settled_first}
    together = runs[consumer.guarantee](consumer, token, ids)
    if together is None:
        return 0
    if together.error is None:
        tell(consumer, token, together.executions)
    elif len(together.executions) == 1 or isinstance(together.error, RetryLater):
        for execution in together.executions:
            execution.error = together.error
            fail(consumer, token, execution)
    else:
        for part in _parts(together):
            _deliver(consumer, token, part)
    return len(together.executions)


def _parts(together: Together) -> list[list[UUID]]:
    """Part a failed batch: around the message that cannot be read, else into halves."""
    ids = [execution.row.message_id for execution in together.executions]
    cut = [together.culprit, together.culprit + 1] if together.culprit is not None else [len(ids) // 2]
    edges = [0, *cut, len(ids)]
    return [ids[low:high] for low, high in pairwise(edges) if low < high]


def _inside(consumer: Consumer, token: UUID, ids: Sequence[UUID] | None) -> Together | None:
    """Exactly once: handler, outcomes and follow-ups in one transaction."""
    for _ in range(CONFLICT_TRIES):
        together: Together | None = None
        try:
            with failpoints.atomic("batch"):
                rows = _take(token, ids)
                if not rows:
                    return None  # rescued meanwhile: whoever claims it next runs it
                together = execute_together(consumer, rows)
                if together.error is not None:
                    raise _Failed
                _settle(token, together)
                make_callbacks_robust()
            return together
        except _Failed:
            assert together is not None
            if together.error is None or not is_conflict(together.error):
                return together
        except DatabaseError as error:
            if is_connection_error(error) or together is None:
                raise
            if not must_run_again(error):  # a constraint checked at COMMIT: halving finds whose it was
                together.error = error
                return together
        pause(random.uniform(0.002, 0.05))  # noqa: S311  jitter, no secret
    raise Contended


def _outside(consumer: Consumer, token: UUID, ids: Sequence[UUID] | None) -> Together | None:
    """At least once: the handler runs outside a transaction, then all outcomes are settled in one."""
    with transaction.atomic():
        rows = _take(token, ids)
    if not rows:
        return None
    together = execute_together(consumer, rows)
    if together.error is not None:
        return together
    try:
        with failpoints.atomic("batch.at_least_once"):
            _settle(token, together)  # raises where a row left under the token meanwhile: all or nothing
            make_callbacks_robust()
    except StaleClaim:
        log.warning("%s: a batch was taken over while its handler ran.", consumer.name)
    return together


def _settled_first(consumer: Consumer, token: UUID, ids: Sequence[UUID] | None) -> Together | None:
    """At most once: settled, then run. A failure is recorded as dropped for every message of the batch."""
    with failpoints.atomic("batch.at_most_once"):
        rows = _take(token, ids)
        if not rows:
            return None
        unread, _ = read_together(consumer, rows)
        if unread.error is not None:  # expired, or against its contract: that is known before anything is settled
            return unread
        _settle(token, unread)
    together = execute_together(consumer, rows)
    with failpoints.atomic("batch.at_most_once.outcome"):
        for execution in together.executions if together.error is not None else ():
            execution.error = together.error
            settling.record_dropped(execution)
        if together.error is None and together.published:
            put(together.published)
    for execution in together.executions if together.error is None else ():
        spans.finish(execution, "handled")
    tell(consumer, token, together.executions)
    return None


def _settle(token: UUID, together: Together) -> None:
    together.executions[0].published = together.published
    settling.settle_done(token, together.executions, is_batch=True)
