"""What a wake-up runs: claim and deliver for one consumer until there is no work or the time slice is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection
from django.db.utils import DatabaseError, InterfaceError

from messaging import signals
from messaging.consumers import Consumer, find_consumer
from messaging.database import store
from messaging.database.connections import is_connection_error
from messaging.delivery.delivering import Contended, deliver_claim
from messaging.delivery.presence import name_session, pause, presence
from messaging.delivery.sizing import Sizer
from messaging.errors import StaleClaim
from messaging.ids import new_id
from messaging.settings import options

log = logging.getLogger("messaging.delivery")
ALONE_EVERY = 8
"""Every so many claims the deliveries that must run alone come first, so that a steady load cannot starve them."""

stopping = threading.Event()
"""Set when the process is asked to end: the chunk under way finishes, nothing new is claimed."""
_sizers: dict[str, Sizer] = {}


@contextmanager
def fresh_sizes() -> Iterator[None]:
    """Forget for a while what was measured of each consumer: one test's chunks must not depend on another's."""
    global _sizers
    kept, _sizers = _sizers, {}
    try:
        yield
    finally:
        _sizers = kept


def deliver_waiting(name: str) -> bool:
    """Deliver what waits for a consumer; return True when the slice ended before the work did."""
    consumer = find_consumer(name)
    if consumer is None:
        log.warning("A wake-up for %s, which this release does not have: its deliveries wait.", name)
        return False
    deadline = time.monotonic() + options().slice_seconds
    turn = 0
    try:
        while not stopping.is_set() and deliver_once(consumer, turn):
            if time.monotonic() > deadline:
                return True
            turn += 1
    except (DatabaseError, InterfaceError) as error:
        log.warning("%s: the database cannot be reached, its deliveries wait: %s", name, error)
        connection.close()
    return False


def deliver_once(consumer: Consumer, turn: int = 0) -> int:
    """Claim one chunk and deliver it; return how many deliveries were claimed."""
    sizer = _sizers.setdefault(consumer.name, Sizer())
    worker = presence().id
    name_session(worker)
    token = new_id()
    first, second = (True, False) if turn % ALONE_EVERY == ALONE_EVERY - 1 else (False, True)
    try:
        claimed = _claim(consumer, token, worker, sizer, alone=first)
        claimed = claimed or _claim(consumer, token, worker, sizer, alone=second)
    except (DatabaseError, InterfaceError) as error:
        if is_connection_error(error):  # the claim may be committed and only its answer lost: nobody would know of it
            connection.close()
            release(token)
        raise
    if claimed:
        _deliver(consumer, token, sizer)
        signals.changed.send_robust(None, topics=frozenset({"messages", "dead_letters", "consumers"}))
    return claimed


def _claim(consumer: Consumer, token: UUID, worker: UUID, sizer: Sizer, *, alone: bool) -> int:
    limit = 1 if alone else sizer.limit()
    return store().claim(consumer=consumer.name, token=token, worker=worker, limit=limit, alone=alone)


def _deliver(consumer: Consumer, token: UUID, sizer: Sizer) -> None:
    try:
        deliver_claim(consumer, token, sizer)
        sizer.went_well()
        return
    except (StaleClaim, Contended) as error:
        log.warning("%s: %s", consumer.name, error)
    except (DatabaseError, InterfaceError) as error:
        log.warning("%s: the database failed during delivery, giving the claim back: %s", consumer.name, error)
        connection.close()
    except BaseException:
        release(token)
        raise
    # Whatever is still claimed belongs to nobody now: this process lives, so rescue would never take it.
    release(token)


def release(token: UUID) -> None:
    """Give back what a claim still holds, as often as it takes until the database answers.

    A COMMIT whose answer was lost is safe here: if it happened the rows are gone, if not they run again.
    """
    wait = 0.05
    while True:
        try:
            store().release(token)
            return
        except (DatabaseError, InterfaceError):
            connection.close()
        if stopping.is_set():
            break
        pause(wait)
        wait = min(wait * 2, 5.0)
    log.error("Could not give claim %s back; it is rescued when this worker has ended.", token)
