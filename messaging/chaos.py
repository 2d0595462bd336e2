"""Faults on purpose: runs that fail, repeat, wait or die, wake-ups that vanish or come twice.

Only where settings.MESSAGING["allow_faults"] is on. Elsewhere it costs one comparison for each claim and wake-up,
and no query. ``messaging.operations.faults`` turns them on and off.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from typing import Any

from messaging.consumers import Consumer
from messaging.database import store
from messaging.errors import MessagingError, RetryLater
from messaging.models import InjectedFault
from messaging.settings import options

EVERY_CONSUMER = "*"
LOOK_SECONDS = 1.0
"""How long a process goes by what it last read: a fault begins and ends everywhere within this time."""


class InjectedFailure(MessagingError):
    """A failure injected on purpose; see manage.py chaos."""


@dataclass(frozen=True)
class _Seen:
    """What this process last read, and when (monotonic)."""

    at: float
    faults: dict[str, InjectedFault]


_seen = _Seen(-LOOK_SECONDS, {})
_lock = threading.Lock()
dice = random.Random()  # noqa: S311  no secret


def forget() -> None:
    """Read anew at the next look (for the process that changed something, and for tests)."""
    global _seen
    _seen = _Seen(-LOOK_SECONDS, {})


def fault_of(consumer: str) -> InjectedFault | None:
    """Return what is injected for a consumer now; nothing where faults are not allowed.

    Raises:
        DatabaseError, InterfaceError: the database did not answer.
    """
    if not options().allow_faults:
        return None
    faults = _look()
    return faults.get(consumer) or faults.get(EVERY_CONSUMER)


def _look() -> dict[str, InjectedFault]:
    global _seen
    with _lock:
        if time.monotonic() - _seen.at >= LOOK_SECONDS:
            active = InjectedFault.objects.filter(until__gt=store().now())
            _seen = _Seen(time.monotonic(), {row.consumer: row for row in active})
        return _seen.faults


def afflicted(consumer: Consumer) -> Consumer:
    """Return the consumer as it is, or with a handler that meets the faults injected for it."""
    fault = fault_of(consumer.name)
    if fault is None:
        return consumer
    return replace(consumer, handler=_afflict(consumer.handler, fault, may_repeat=consumer.guarantee != "at_most_once"))


def _afflict(handler: Callable[..., Any], fault: InjectedFault, *, may_repeat: bool) -> Callable[..., Any]:
    @wraps(handler)
    def run(*arguments: Any, **named: Any) -> None:
        if dice.random() < fault.crash_rate:
            os.kill(os.getpid(), signal.SIGKILL)
        if dice.random() < fault.failure_rate:
            raise InjectedFailure(f"Injected by {fault.set_by}: {fault.reason}")
        handler(*arguments, **named)
        # The handler did its work, and yet it comes again: as if the outcome had been lost on its way.
        if may_repeat and dice.random() < fault.redelivery_rate:
            raise RetryLater(timedelta(0))

    return run


def delay_of(consumer: str) -> float:
    """Return how long a delivery of this consumer waits after its claim, in seconds."""
    fault = fault_of(consumer)
    return fault.delay_seconds if fault else 0.0


def wakeups(consumer: str, wanted: int) -> int:
    """Return how many wake-ups are really sent where ``wanted`` should be."""
    fault = fault_of(consumer) if wanted > 0 else None
    if fault is None:
        return wanted
    kept = sum(dice.random() >= fault.wakeup_loss_rate for _ in range(wanted))
    return kept + sum(dice.random() < fault.wakeup_repeat_rate for _ in range(kept))
