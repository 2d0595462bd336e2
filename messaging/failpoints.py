"""Failpoints: named places of the delivery path at which a test may end or freeze the process.

Off, which is always but in a process that its environment arms and its settings allow, one costs a comparison.
SIGNALBOX_FAILPOINT=name:hit kills this process with SIGKILL when it reaches ``name`` for the hit-th time;
name:hit:freeze stops it until somebody continues it. It may name several, separated by spaces: a process fires at the
one that it reaches first, and then no more. SIGNALBOX_FAILPOINT_MARK names a file that is made when it fires: as long
as the file exists, no process fires again. SIGNALBOX_FAILPOINT_TALLY names a file with a line for each hit, so that
hits count over all processes that take over from each other.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from django.db import transaction

from messaging.errors import ConfigurationError
from messaging.settings import options

T = TypeVar("T")
VARIABLE, MARK, TALLY = "SIGNALBOX_FAILPOINT", "SIGNALBOX_FAILPOINT_MARK", "SIGNALBOX_FAILPOINT_TALLY"
COUNT_ONLY = "count"
"""As the name of a failpoint: never fire, only count what is reached."""


class _Armed:
    """What fires in this process, and how often each name was reached."""

    def __init__(
        self, actions: Mapping[tuple[str, int], signal.Signals], *, mark: str | None = None, tally: str | None = None
    ) -> None:  # fmt: skip
        self._actions, self._mark = actions, mark
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._tally = os.open(tally, os.O_RDWR | os.O_CREAT | os.O_APPEND) if tally else None
        if self._tally is not None:
            self.counts.update(os.pread(self._tally, os.fstat(self._tally).st_size, 0).decode().split())

    def reach(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1
            if self._tally is not None:
                os.write(self._tally, f"{name}\n".encode())
            action = self._actions.get((name, self.counts[name]))
            if action is not None:
                self._actions = {}
        if action is not None and self._is_first():
            os.kill(os.getpid(), action)

    def _is_first(self) -> bool:
        if self._mark is None:
            return True
        with suppress(FileExistsError):
            os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL))
            return True
        return False


_armed: _Armed | None = None


def arm() -> None:
    """Arm what the environment names; nothing when it names nothing.

    Raises:
        ConfigurationError: the settings do not allow faults, or the variable cannot be read.
    """
    global _armed
    given = os.environ.get(VARIABLE, "")
    if not given:
        _armed = None
        return
    if not options().allow_faults:
        raise ConfigurationError(f"{VARIABLE} is set, but faults are not allowed here: unset it.")
    actions = dict(_read(each) for each in given.split())
    _armed = _Armed(actions, mark=os.environ.get(MARK), tally=os.environ.get(TALLY))


def _read(given: str) -> tuple[tuple[str, int], signal.Signals]:
    name, _, rest = given.partition(":")
    hit, _, action = rest.partition(":")
    if not name or (hit and not hit.isdecimal()) or action not in ("", "freeze"):
        raise ConfigurationError(f"{VARIABLE}: {given!r} is not name:hit or name:hit:freeze.")
    return (name, int(hit or 1)), signal.SIGSTOP if action else signal.SIGKILL


def reach(name: str) -> None:
    """Say that this process is at ``name``; when that is armed, the process may not come back from it."""
    if _armed is not None:
        _armed.reach(name)


def counts() -> dict[str, int]:
    """Return how often each failpoint was reached since ``arm``, or in all of the tally."""
    return dict(_armed.counts) if _armed else {}


@contextmanager
def atomic(name: str) -> Iterator[None]:
    """Open a transaction with failpoints ``name.commit`` just before its COMMIT and ``name.committed`` after it."""
    with transaction.atomic():
        yield
        reach(f"{name}.commit")
    reach(f"{name}.committed")


def watch(target: T, methods: Collection[str]) -> T:
    """Return ``target``; armed, with failpoints ``method.before`` and ``method.after`` around each of ``methods``."""
    return target if _armed is None else cast(T, _Watched(target, methods))


class _Watched:
    def __init__(self, target: object, methods: Collection[str]) -> None:
        self._target, self._methods = target, methods

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return _between(name, value) if name in self._methods else value


def _between(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any, **named: Any) -> Any:
        reach(f"{name}.before")
        result = call(*arguments, **named)
        reach(f"{name}.after")
        return result

    return watched
