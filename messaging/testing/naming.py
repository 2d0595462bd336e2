"""Which consumer a test means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from messaging.consumers import Consumer, all_consumers, find_consumer

ConsumerName = str | Callable[..., Any]
"""A consumer's name, or the function that was declared as one."""


def consumer_of(given: ConsumerName) -> Consumer:
    """Return the consumer of this name or handler, also while a double stands in for it.

    Raises:
        LookupError: there is none.
    """
    if isinstance(given, str):
        found = find_consumer(given)
    else:
        found = next((each for each in all_consumers() if given in _layers(each.handler)), None)
    if found is None:
        names = ", ".join(declared.name for declared in all_consumers()) or "none"
        raise LookupError(f"No consumer is {given!r}. Declared: {names}.")
    return found


def _layers(handler: Any) -> Iterator[Any]:
    while handler is not None:
        yield handler
        handler = getattr(handler, "__wrapped__", None)
