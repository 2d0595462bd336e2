"""The relay: outbox rows become deliveries, and consumers with work are woken."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from django.db import connection
from django.db.utils import DatabaseError, InterfaceError

from messaging import pressure, rescue, signals, tracing
from messaging.consumers import find_consumer
from messaging.database import store
from messaging.database.statements import Relayed
from messaging.database.waiting import Hints, open_hints
from messaging.delivery import gate
from messaging.delivery.batches import is_ripe
from messaging.delivery.presence import Presence, name_session
from messaging.errors import TransportUnavailable
from messaging.scheduling import firing
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.settings import options
from messaging.subscriptions import synchronise
from messaging.wakeups import Outstanding, look, wake

log = logging.getLogger("messaging.relay")
BUSY_LOOKS = 3
"""After so many looks in a row that found work the relay is busy: it looks again by itself, nobody need hint."""
GATHER_SECONDS = 0.025
"""Under load, the time from one look to the next: each batch costs a transaction here, a wake-up, a claim and a
transaction in a worker, however few messages it holds."""
SPARSE, DENSE = 0.016, 0.008
"""Mean seconds between messages from which on none waits for company, and from which on all do."""
SMOOTHING, LONGEST_GAP = 0.2, 0.1
FIRST_WAIT = 0.01
RESCUE_EVERY = 3.0


class Gathering:
    """How long to wait before the next look, so that batches pay for themselves and a lone message need not wait."""

    def __init__(self) -> None:
        self._mean_gap = LONGEST_GAP
        self._looked_at = time.monotonic()

    def note(self, taken: int) -> None:
        """Note that a look found so many messages."""
        now = time.monotonic()
        gap = min((now - self._looked_at) / taken, LONGEST_GAP)
        self._mean_gap += SMOOTHING * (gap - self._mean_gap)
        self._looked_at = now

    def seconds(self) -> float:
        crowding = (SPARSE - self._mean_gap) / (SPARSE - DENSE)
        return GATHER_SECONDS * min(max(crowding, 0.0), 1.0)


class Relay:
    """One relay loop. Any number may run side by side: SKIP LOCKED shares the rows out."""

    def __init__(self) -> None:
        self._presence = Presence("relay")
        self._look_at = 0.0
        self._due_at = 0.0
        self._rescue_at = 0.0
        self._shut: frozenset[str] = frozenset()
        self._woken: set[str] = set()
        self._is_broker_away = False
        self._wait = FIRST_WAIT
        self._outstanding: Outstanding = {}

    def run(self, stop: threading.Event) -> None:
        """Relay until ``stop`` is set; survive a database or broker that goes away and comes back."""
        while not stop.is_set():
            try:
                synchronise()
                synchronise_schedules()
                self._presence.start()
                name_session(self._presence.id)
                with open_hints() as hints:
                    self._relay_until(stop, hints)
            except (DatabaseError, InterfaceError, OSError) as error:
                log.warning("Relay lost the database, trying again in %.2f s: %s", self._wait, error)
                connection.close()
                stop.wait(self._wait)
                self._wait = min(self._wait * 2, 5.0)
        with suppress(DatabaseError, InterfaceError):
            self._presence.stop()
        connection.close()

    def _relay_until(self, stop: threading.Event, hints: Hints) -> None:
        wait, looks, gathering = FIRST_WAIT, 0, Gathering()
        while not stop.is_set():
            was_idle = self._presence.is_idle
            taken = self.step()
            self._wait = FIRST_WAIT  # for the database, should it go away after this
            if taken:
                wait, looks = FIRST_WAIT, looks + 1
                gathering.note(taken)
                pause = gathering.seconds()
                self._mark_idle(looks < BUSY_LOOKS or not pause)
                if taken >= options().relay_batch:
                    continue
                if pause:
                    stop.wait(pause)
                    continue
            else:
                looks = 0
                self._look_at_broker()
                self._mark_idle(True)
            if not was_idle:
                # Mark first, look once more, then wait: a commit in between is seen by one of the two. Where the mark
                # has stood since before the look, whatever came meanwhile has hinted.
                continue
            # A publish that began before the mark sends no hint, so the first waits are short.
            wait = FIRST_WAIT if hints.wait(wait) else min(wait * 2, options().poll_seconds)

    def step(self) -> int:
        """Relay a batch, do the chores whose time has come, and relay after each of them; return rows taken.

        So what a chore made goes out at once, and what came meanwhile waits for no other chore.
        """
        self._woken.clear()
        self._is_broker_away = False
        taken = self._relay()
        for chore in self._chores():
            chore()
            taken += self._relay()
        if taken:
            signals.changed.send_robust(None, topics=frozenset({"messages", "consumers"}))
        return taken

    def _relay(self) -> int:
        relayed = fan_out()
        self._wake_for(relayed.deliveries)
        self._woken.update(relayed.deliveries)
        return relayed.taken

    def _chores(self) -> Iterator[Callable[[], object]]:
        """Yield what is to be done now, each noted as done before it is: one that fails takes no other's turn."""
        now = time.monotonic()
        if now >= self._due_at:
            self._due_at = now + options().poll_seconds
            yield self._move_due
        if now >= self._rescue_at:
            self._rescue_at = now + RESCUE_EVERY
            yield rescue.rescue
        if now >= self._look_at:
            self._look_at = now + options().poll_seconds
            yield self._wake_forgotten

    def _move_due(self) -> None:
        firing.fire_due()
        if store().move_due(options().relay_batch) == options().relay_batch:
            self._due_at = 0.0  # there may be more

    def _wake_forgotten(self) -> None:
        """Wake for retries that came due, for resumed consumers, and where the broker lost a wake-up."""
        self._shut = gate.shut()
        pressure.note()
        most = options().chunk_limit * options().wakeups_per_consumer
        self._wake_for({name: most for name in store().claimable() if name not in self._woken})

    def _wake_for(self, deliveries: Mapping[str, int]) -> None:
        if self._is_broker_away:
            return  # it was asked a moment ago, and each time may take seconds
        work = {name: count for name, count in deliveries.items() if name not in self._shut and _is_worth_waking(name)}
        try:
            wake(work, self._outstanding)
        except TransportUnavailable as error:
            self._is_broker_away = True
            log.warning("%s", error)  # the next look finds the same work again

    def _look_at_broker(self) -> None:
        with suppress(TransportUnavailable):
            look(self._outstanding)

    def _mark_idle(self, is_idle: bool) -> None:
        if self._presence.is_idle != is_idle:
            self._presence.is_idle = is_idle
            self._presence.beat()


def fan_out() -> Relayed:
    """Make deliveries of one batch of outbox rows."""
    if not tracing.is_on():
        return store().relay(options().relay_batch)
    began = time.time_ns()
    relayed = store().relay(options().relay_batch, traced=True)
    if relayed.contexts:
        tracing.relayed(relayed.contexts, taken=relayed.taken, began_ns=began)
    return relayed


def _is_worth_waking(name: str) -> bool:
    """A batch consumer whose batch is not full sleeps on: its turn comes with a later look, as the oldest ages."""
    consumer = find_consumer(name)
    return consumer is None or is_ripe(consumer)


def run(stop: threading.Event, *, on_start: Callable[[], None] | None = None) -> None:
    """Run a relay in this thread until ``stop`` is set."""
    if on_start:
        on_start()
    Relay().run(stop)
