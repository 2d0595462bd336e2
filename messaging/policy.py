"""Retry policies and the decision after a failure. Pure: no clock, no database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from messaging.errors import ConfigurationError, ContractError, MessageExpired, PermanentError, RetryLater

_DURATION = re.compile(r"\A(\d+(?:\.\d+)?)(ms|s|m|h|d)\Z")
LONGEST_WAIT = 10 * 365 * 86400.0
"""Ten years, in seconds: what a handler asks for must stay a date that can be written."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(duration: str | float | timedelta) -> float:
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

    ``permanent`` exceptions are dead-lettered at the first failure; ``ignore``d ones settle the delivery as done.
    """

    immediate: int = 3
    delays: tuple[str | float | timedelta, ...] = ("10s", "1m", "10m")
    permanent: tuple[type[Exception], ...] = ()
    ignore: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if self.immediate < 0:
            raise ConfigurationError(f"Retry(immediate={self.immediate}) must not be negative.")
        for delay in self.delays:
            seconds(delay)

    def describe(self) -> dict[str, Any]:
        """Return the policy as an operator reads it."""
        return {
            "immediate": self.immediate,
            "delays": [str(delay) for delay in self.delays],
            "permanent": [kind.__name__ for kind in self.permanent],
            "ignore": [kind.__name__ for kind in self.ignore],
        }


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


def decide(error: BaseException, *, failures: int, retry: Retry) -> Decision:
    """Say what follows ``error`` when ``failures`` executions failed before it."""
    if isinstance(error, MessageExpired):
        return GiveUp("expired")
    if isinstance(error, RetryLater):
        return TryAgain(min(error.after.total_seconds(), LONGEST_WAIT), is_failure=False)
    if isinstance(error, retry.ignore):
        return Ignore()
    if isinstance(error, ContractError):
        return GiveUp("contract")
    if isinstance(error, (PermanentError, *retry.permanent)):
        return GiveUp("permanent")
    if failures < retry.immediate:
        return TryAgain(0.0)
    step = failures - retry.immediate
    if step < len(retry.delays):
        return TryAgain(seconds(retry.delays[step]))
    return GiveUp("exhausted")
