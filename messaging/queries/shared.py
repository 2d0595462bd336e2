"""Reads that several parts of one page have in common: inside ``sharing`` each is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from messaging.models import ConsumerState, Gate, Worker

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_done: ContextVar[dict[Any, Any] | None] = ContextVar("done_reads", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Let everything inside share its reads. For an answer that changes nothing: it would not see its own change."""
    token = _done.set({})
    try:
        yield
    finally:
        _done.reset(token)


def once(read: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Read once for the same arguments inside ``sharing``, and each time outside. The result is not to be changed."""

    @wraps(read)
    def shared(*args: Parameters.args, **given: Parameters.kwargs) -> Result:
        done = _done.get()
        if done is None:
            return read(*args, **given)
        key = (read, args, tuple(sorted(given.items())))
        if key not in done:
            done[key] = read(*args, **given)
        return cast(Result, done[key])

    return shared


@once
def consumer_states() -> tuple[ConsumerState, ...]:
    return tuple(ConsumerState.objects.order_by("name"))


@once
def gates() -> tuple[Gate, ...]:
    return tuple(Gate.objects.order_by("id"))


@once
def processes() -> tuple[Worker, ...]:
    """Return every process with a heartbeat row, by role and name."""
    return tuple(Worker.objects.order_by("role", "name", "id"))
