"""Stand-ins for consumers, and failures made on purpose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from messaging.consumers import Consumer, declare, find_consumer
from messaging.testing.naming import ConsumerName, consumer_of


class InjectedFailure(Exception):
    """The test let this consumer fail."""


@dataclass
class Double:
    """Stands in for a consumer. ``calls`` holds what it was given, in order: events, or lists of them."""

    calls: list[Any] = field(default_factory=list)


class Doubles:
    """Replaces handlers until ``close``; the consumers keep their policy, guarantee and subscriptions."""

    def __init__(self) -> None:
        self._originals: dict[str, Consumer] = {}
        self._stand_ins: dict[str, Consumer] = {}

    def replace(self, consumer: ConsumerName, handler: Callable[..., Any] | None) -> Double:
        """Put ``handler`` in a consumer's place, or nothing, and note what it is given."""
        double = Double()

        def stand_in(message: Any, context: Any) -> None:
            double.calls.append(message)
            if handler is not None:
                handler(message, context)

        self._wrap(consumer, stand_in)
        return double

    def fail(
        self, consumer: ConsumerName, *, times: int, error: Exception | type[Exception] | None, after: bool
    ) -> None:
        """Let the next ``times`` runs fail, before or ``after`` the handler."""
        left = times
        original = consumer_of(consumer).handler

        def failing(message: Any, context: Any) -> None:
            nonlocal left
            is_due, left = left > 0, left - 1
            if not is_due or after:
                original(message, context)
            if is_due:
                raise error or InjectedFailure("harness.fail() asked for this.")

        self._wrap(consumer, failing)

    def close(self) -> None:
        """Put every original back, unless its consumer was forgotten or declared anew meanwhile."""
        for name, original in self._originals.items():
            if find_consumer(name) is self._stand_ins[name]:
                declare(original)

    def _wrap(self, consumer: ConsumerName, stand_in: Callable[[Any, Any], None]) -> None:
        declared = consumer_of(consumer)
        self._originals.setdefault(declared.name, declared)
        self._stand_ins[declared.name] = replace(declared, handler=functools.wraps(declared.handler)(stand_in))
        declare(self._stand_ins[declared.name])
