"""Mutants of what only some seeds play: batches, expiry, filters, large bodies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.db import transaction

from messaging import failpoints, filters, payloads, policy, sweeping
from messaging.consumers import Consumer
from messaging.database import sqlite
from messaging.database.statements import Claimed
from messaging.delivery import batches
from messaging.delivery.delivering import fail
from messaging.delivery.together import Together, execute_together
from messaging.errors import MessageExpired, StorageUnavailable
from messaging.ids import time_of
from messaging.models import Message
from tests.simulation.parts.expiring import Expiring
from tests.simulation.parts.filtered import Filtered
from tests.simulation.parts.gathered import Gathered
from tests.simulation.parts.large import Large
from tests.simulation.parts.part import Part


def without_search() -> None:
    """A batch that fails is blamed on all of its messages."""

    def deliver(consumer: Consumer, token: UUID, ids: Sequence[UUID] | None) -> int:
        runs = {"exactly_once": batches._inside, "at_least_once": batches._outside}
        together = runs.get(consumer.guarantee, batches._settled_first)(consumer, token, ids)
        if together is None:
            return 0
        for execution in together.executions if together.error is not None else ():
            execution.error = together.error
            fail(consumer, token, execution)
        return len(together.executions)

    patched: Any = batches
    patched._deliver = deliver


def without_batch_transaction() -> None:
    """What a batch did is committed, and settled in a transaction after that."""

    def inside(consumer: Consumer, token: UUID, ids: Sequence[UUID] | None) -> Together | None:
        with failpoints.atomic("batch"):
            rows = batches._take(token, ids)
            if not rows:
                return None
            together = execute_together(consumer, rows)
            if together.error is not None:
                transaction.set_rollback(True)
                return together
        with failpoints.atomic("batch.settled"):
            batches._settle(token, together)
        return together

    patched: Any = batches
    patched._inside = inside


def without_expiry() -> None:
    """Nobody looks at the clock before a message is handled."""
    patched: Any = Claimed
    patched.is_expired_at = lambda row, moment: False


def without_fresh_look() -> None:
    """What had not expired when it was claimed is handled, however long that is ago."""
    patched: Any = Claimed
    patched.is_expired_at = lambda row, moment: _is_expired(row, row.locked_at)


def without_expired_dead_letter() -> None:
    """An expired message is settled as one that nobody cares for."""
    decide = policy.decide

    def ignoring(error: Exception, **named: Any) -> Any:
        return policy.Ignore() if isinstance(error, MessageExpired) else decide(error, **named)

    patched: Any = policy
    patched.decide = ignoring


def without_filters() -> None:
    """The relay asks no filter."""
    patched: Any = filters
    patched.refused = lambda rows: []


def without_filtered_record() -> None:
    """Nobody writes down what a filter kept out."""
    patched: Any = sqlite
    patched._note_refused = lambda cursor, refused: None


def without_body_first() -> None:
    """A large body goes to the storage when its message is committed already."""
    store = payloads.set_aside

    def set_aside(id: UUID, body: bytes) -> dict[str, Any]:
        def later() -> None:
            with suppress(StorageUnavailable):
                store(id, body)

        transaction.on_commit(later, robust=True)
        name = f"{payloads.FOLDER}/{time_of(id):%Y%m%d}/{id.hex}.json"
        return {"name": name, "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}

    patched: Any = payloads
    patched.set_aside = set_aside


def without_asking_for_messages() -> None:
    """The sweep takes every old body for one that belongs to nobody."""
    patched: Any = sweeping
    patched.Message = SimpleNamespace(objects=Message.objects.none())


def _is_expired(row: Claimed, moment: Any) -> bool:
    return row.run == 1 and row.expires_at is not None and row.expires_at <= moment


BY_PART: dict[type[Part], dict[str, Callable[[], None]]] = {
    Gathered: {"batch's search": without_search, "batch's transaction": without_batch_transaction},
    Expiring: {
        "expiry": without_expiry,
        "expiry's fresh look": without_fresh_look,
        "expired dead letter": without_expired_dead_letter,
    },
    Filtered: {"filter": without_filters, "filter's record": without_filtered_record},
    Large: {"body first": without_body_first, "sweep's question": without_asking_for_messages},
}
