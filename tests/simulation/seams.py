"""Where the world replaces what is outside the bus: time, ids, threads, the broker, and what is per process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from messaging import clock, failpoints, ids, relay, wakeups
from messaging.database import _store, hint
from messaging.delivery import batches, delivering, execution, gate, loop, presence, together
from messaging.settings import options
from tests.simulation import swift
from tests.simulation.broker import Broker
from tests.simulation.stage import world
from tests.simulation.world import Actor, Process

TIMED: tuple[Any, ...] = (loop, delivering, execution, presence, relay, together)
"""Modules of the bus that ask the monotonic clock."""


class _Failpoints(failpoints._Armed):
    """Every failpoint is a point of the world."""

    def __init__(self) -> None:
        super().__init__({})

    def reach(self, name: str) -> None:
        world().reach(name)


class _Event:
    """A threading.Event on virtual time."""

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float = 1e9) -> bool:
        if not self._is_set:
            world().sleep(timeout, self.is_set)
        return self._is_set


class _Hint(_Event):
    """The hint to an idle relay, which may get lost."""

    def set(self) -> None:
        if not world().is_struck("lost"):
            super().set()


class _Thread:
    """A thread of a process is one more of its actors."""

    def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
        self._target = target
        self._actor: Actor | None = None
        self._name = name.split(maxsplit=1)[0]

    def start(self) -> None:
        current = world().current
        assert current is not None
        self._actor = world().spawn(current.process, self._name, self._target)

    def is_alive(self) -> bool:
        return self._actor is not None and self._actor.is_alive()

    def join(self, timeout: float) -> None:
        world().sleep(timeout, lambda: not self.is_alive())


def put_in_place() -> None:
    """Replace, once in this process, all that does not depend on the seed."""
    patched: Any
    clock.install(lambda: world().clock())
    ticking = SimpleNamespace(
        monotonic=lambda: world().now, perf_counter=lambda: world().now, sleep=lambda seconds: world().sleep(seconds),
        time_ns=lambda: int(world().clock().timestamp() * 1e9),
    )  # fmt: skip
    for patched in TIMED:
        patched.time = ticking
    patched = presence
    patched.threading = SimpleNamespace(Thread=_Thread, Event=_Event, Lock=threading.Lock)
    patched.heartbeat_is_on = True
    patched = ids
    patched.uuid_utils = SimpleNamespace(uuid7=_uuid7)
    patched = failpoints
    patched._armed = _Failpoints()
    _store.cache_clear()  # made again with its failpoints
    patched = relay
    patched.open_hints, patched.FIRST_WAIT = _hints, 0.1
    patched = wakeups
    patched.waiting = lambda connection, queue: connection.waiting(queue)
    patched.send = lambda connection, queue, consumer: connection.send(queue)
    patched.logging.disable(patched.logging.CRITICAL)
    swift.put_in_place()


def begin(broker: Broker) -> None:
    """Replace what belongs to one run."""
    patched: Any = wakeups
    patched.current_app = broker
    patched = hint
    patched._event = _Hint()
    for patched in (delivering, batches):
        patched.random = world().rng
    options.cache_clear()


def install(process: Process) -> None:
    """Make the globals of the bus those of this process."""
    own = process.globals
    if not own:
        own |= {
            "mine": {},
            "sizers": {},
            "last": {},
            "gated": frozenset(),
            "stopping": _Event(),
            "lock": threading.Lock(),
        }
    patched: Any = presence
    patched._mine, patched._lock = own["mine"], own["lock"]
    patched = loop
    patched._sizers, patched._last_key, patched.stopping = own["sizers"], own["last"], own["stopping"]
    patched = gate
    patched._overridden = own["gated"]


def put_away(process: Process) -> None:
    """Keep what the process has put in place of a global."""
    process.globals["gated"] = gate._overridden


@contextmanager
def _hints() -> Iterator[Any]:
    yield hint


def _uuid7() -> Any:
    """Return an id as RFC 9562 makes them: a millisecond, then chance."""
    now = world()
    bits = int(now.clock().timestamp() * 1000) << 80 | now.rng.getrandbits(76)
    return SimpleNamespace(int=bits & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)
