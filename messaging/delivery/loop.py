"""What a wake-up runs: claim and deliver for one consumer until there is no work or the time slice is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

from django.db import connection
from django.db.utils import DatabaseError, InterfaceError

from messaging import chaos, signals
from messaging.consumers import Consumer, find_consumer
from messaging.database import store
from messaging.delivery import batches, gate, spans
from messaging.delivery.batches import BatchSizer
from messaging.delivery.delivering import Contended, deliver_claim
from messaging.delivery.presence import name_session, pause, presence
from messaging.delivery.sizing import Sizer
from messaging.errors import BreakerOpen, StaleClaim
from messaging.ids import new_id
from messaging.settings import options

log = logging.getLogger("messaging.delivery")
ALONE_EVERY = 8
"""Every so many claims the deliveries that must run alone come first, so that a steady load cannot starve them."""

LONGEST_STAY = 0.25
"""Seconds that a worker waits for a rate limit's next token; for longer it gives its place to another consumer."""

stopping = threading.Event()
"""Set when the process is asked to end: the chunk under way finishes, nothing new is claimed."""
_sizers: dict[str, Sizer] = {}
_last_key: dict[str, str] = {}
"""By consumer: the key at which the last claim in order stopped."""
Way = Callable[[Consumer, UUID, UUID, int], int]


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
        while not stopping.is_set():
            claim = claim_and_deliver(consumer, turn)
            if not claim.count and (claim.wait is None or claim.wait > LONGEST_STAY):
                return False
            if time.monotonic() > deadline:
                return True
            if not claim.count and claim.wait:
                pause(claim.wait)  # for the next token of a rate limit; the relay would come back too late
            turn += 1
    except (DatabaseError, InterfaceError) as error:
        log.warning("%s: the database cannot be reached, its deliveries wait: %s", name, error)
        connection.close()
    return False


def deliver_once(consumer: Consumer, turn: int = 0) -> int:
    """Claim one chunk and deliver it; return how many deliveries were claimed."""
    return claim_and_deliver(consumer, turn).count


def claim_and_deliver(consumer: Consumer, turn: int = 0) -> gate.Claim:
    """Claim one chunk, as far as the consumer's limits allow, and deliver it."""
    if not batches.is_ripe(consumer):
        return gate.Claim(count=0)
    consumer, delay = chaos.afflicted(consumer), chaos.delay_of(consumer.name)
    sizer = _sizers.setdefault(consumer.name, BatchSizer(consumer.batch.size) if consumer.batch else Sizer())
    wanted = 1 if delay and not consumer.batch else sizer.limit()
    worker = presence().id
    name_session(worker)
    token = new_id()
    began = time.time_ns()

    def take(limit: int) -> int:
        return _claim(consumer, token, worker, limit, turn)

    try:
        if gate.is_gated(consumer):
            claim = gate.claim(consumer, token=token, worker=worker, wanted=wanted, take=take)
        else:
            claim = gate.Claim(count=take(wanted))
    except (DatabaseError, InterfaceError):
        # Only the answer may be lost: what was claimed would stay so for as long as this process lives.
        connection.close()
        release(token)
        raise
    if claim.count:
        if delay:
            pause(delay)
        with spans.delivering(consumer.name, began, claim.count):
            _deliver(consumer, token, sizer, count=claim.count)
        if claim.is_probe:
            gate.end_probe(token)
        signals.changed.send_robust(None, topics=frozenset({"messages", "dead_letters", "consumers"}))
    return claim


def _claim(consumer: Consumer, token: UUID, worker: UUID, limit: int, turn: int) -> int:
    return next(filter(None, (way(consumer, token, worker, limit) for way in _ways(consumer, turn))), 0)


def _ways(consumer: Consumer, turn: int) -> list[Way]:
    """Return what to look for, in turn: no kind of work may starve another."""
    ways: list[Way] = [_claim_together, _claim_alone]
    if turn % ALONE_EVERY == ALONE_EVERY - 1:
        ways.reverse()
    if not consumer.is_ordered:
        return ways
    return [*ways, _claim_in_order] if turn % 2 else [_claim_in_order, *ways]


def _claim_together(consumer: Consumer, token: UUID, worker: UUID, limit: int) -> int:
    return store().claim(consumer=consumer.name, token=token, worker=worker, limit=limit, alone=False)


def _claim_alone(consumer: Consumer, token: UUID, worker: UUID, limit: int) -> int:
    return store().claim(consumer=consumer.name, token=token, worker=worker, limit=1, alone=True)


def _claim_in_order(consumer: Consumer, token: UUID, worker: UUID, limit: int) -> int:
    """Claim from the key on where the last claim stopped: keys at the front of the alphabet starve no other."""
    claim = partial(store().claim_in_order, consumer=consumer.name, token=token, worker=worker, limit=limit)
    after = _last_key.get(consumer.name, "")
    lanes = claim(after=after)
    while not lanes.claimed and (lanes.last or after):  # others took these, or the end of the keys was reached
        after = lanes.last or ""
        lanes = claim(after=after)
    _last_key[consumer.name] = lanes.last or ""
    return lanes.claimed


def _deliver(consumer: Consumer, token: UUID, sizer: Sizer, *, count: int) -> None:
    try:
        if consumer.batch:
            batches.deliver_batch(consumer, token, count=count)
        else:
            deliver_claim(consumer, token, sizer, is_lone=count == 1)
        sizer.went_well()
        if consumer.is_ordered:
            release(token)  # what follows one that failed is still claimed, and waits its turn
        return
    except (StaleClaim, Contended, BreakerOpen) as error:
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
