"""Retry policies and the decision after a failure. Pure: no clock, no database."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from messaging.errors import (
    ConfigurationError,
    ContractError,
    MessageExpired,
    MessageIgnored,
    PermanentError,
    RetryLater,
)

_DURATION = re.compile(r"\A(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
LONGEST_WAIT = 10 * 365 * 86400.0
"""Ten years, in seconds: what a handler asks for must stay a date that can be written."""
Duration = str | float | timedelta
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: Duration) -> float:
    """Read a duration: "250ms", "10s", "1m", "2h", "1d", a number of seconds, or a timedelta.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, int | float) and duration >= 0:
        return float(duration)
    match = _DURATION.match(duration) if isinstance(duration, str) else None
    if not match:
        raise ConfigurationError(f'{duration!r} is not a duration; write "250ms", "10s", "1m", "2h" or "1d".')
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When to try again: ``immediate`` times at once, then after each of ``delays``, then dead-letter.

    Each delay varies by up to ``jitter`` of itself (0 to 1), so that what failed together does not come back together.
    ``permanent`` exceptions are dead-lettered at the first failure; ``ignore``d ones settle the delivery as done.
    ``on`` gives some exceptions a policy of their own.
    """

    immediate: int = 3
    delays: tuple[Duration, ...] = ("10s", "1m", "10m")
    jitter: float = 0.0
    permanent: tuple[type[Exception], ...] = ()
    ignore: tuple[type[Exception], ...] = ()
    cases: tuple[tuple[tuple[type[Exception], ...], Retry], ...] = ()
    """Set by ``on``."""

    def __post_init__(self) -> None:
        if self.immediate < 0:
            raise ConfigurationError(f"Retry(immediate={self.immediate}) must not be negative.")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"Retry(jitter={self.jitter}) must be between 0 and 1.")
        for delay in self.delays:
            seconds(delay)

    def on(self, *kinds: type[Exception], retry: Retry) -> Retry:
        """Return this policy with another one for exceptions of ``kinds``; of several cases the first that fits."""
        if not kinds:
            raise ConfigurationError("Retry.on(...) needs the exceptions that it is for.")
        return replace(self, cases=(*self.cases, (kinds, retry)))

    def for_error(self, kind: type[BaseException]) -> Retry:
        """Return the policy for an exception of this class."""
        return next((retry.for_error(kind) for kinds, retry in self.cases if issubclass(kind, kinds)), self)

    def describe(self) -> dict[str, Any]:
        """Return the policy as an operator reads it."""
        described: dict[str, Any] = {
            "immediate": self.immediate,
            "delays": [str(delay) for delay in self.delays],
            "permanent": [kind.__name__ for kind in self.permanent],
            "ignore": [kind.__name__ for kind in self.ignore],
        }
        if self.jitter:
            described["jitter"] = self.jitter
        for kinds, retry in self.cases:
            described[f"on {', '.join(kind.__name__ for kind in kinds)}"] = retry.describe()
        return described


@dataclass(frozen=True)
class TryAgain:
    """Run it again ``after`` seconds. A postponement (the handler asked for it) costs no failure."""

    after: float
    is_failure: bool = True


@dataclass(frozen=True)
class GiveUp:
    """Dead-letter it; ``reason`` is a DeadLetter.Reason."""

    reason: str


@dataclass(frozen=True)
class Ignore:
    """Settle it as done."""


Decision = TryAgain | GiveUp | Ignore


def decide(error: BaseException, *, failures: int, retry: Retry, luck: float = 0.5) -> Decision:
    """Say what follows ``error`` when ``failures`` executions failed before it.

    ``luck``, 0 to 1, places a delay within its jitter.
    """
    if isinstance(error, MessageExpired):
        return GiveUp("expired")
    if isinstance(error, RetryLater):
        return TryAgain(min(error.after.total_seconds(), LONGEST_WAIT), is_failure=False)
    return decide_for(type(error), failures=failures, retry=retry, luck=luck)


def decide_for(kind: type[BaseException], *, failures: int, retry: Retry, luck: float = 0.5) -> Decision:
    """Say what follows an error of this class; the same as ``decide`` for all but RetryLater."""
    retry = retry.for_error(kind)
    if issubclass(kind, (MessageIgnored, *retry.ignore)):
        return Ignore()
    if issubclass(kind, ContractError):
        return GiveUp("contract")
    if issubclass(kind, (PermanentError, *retry.permanent)):
        return GiveUp("permanent")
    if failures < retry.immediate:
        return TryAgain(0.0)
    step = failures - retry.immediate
    if step < len(retry.delays):
        return TryAgain(seconds(retry.delays[step]) * (1 + retry.jitter * (2 * luck - 1)))
    return GiveUp("exhausted")


def luck_of(message_id: UUID, failures: int) -> float:
    """Return the luck of one delay, 0 to 1: always the same, so that a delay computed again does not move."""
    return zlib.crc32(b"%b %d" % (message_id.bytes, failures)) / 0xFFFFFFFF
