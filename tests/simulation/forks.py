"""Forks of a process that is set up: what takes seconds is done once, and each has a whole system to itself."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

T = TypeVar("T")
FORKING = multiprocessing.get_context("fork")


def in_forks(calls: Sequence[Callable[[], T]], jobs: int) -> Iterator[tuple[int, T]]:
    """Make each call in a fork of its own, ``jobs`` at a time; yield its number and result as they end."""
    waiting = list(enumerate(calls))
    running: dict[Any, tuple[int, Any]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, call = waiting.pop(0)
            mine, theirs = FORKING.Pipe(duplex=False)
            process = FORKING.Process(target=_answer, args=(theirs, call))
            process.start()
            theirs.close()
            running[mine] = number, process
        ended: Any
        for ended in wait(list(running)):
            number, process = running.pop(ended)
            yield number, ended.recv()
            process.join()


def _answer(theirs: Connection, call: Callable[[], object]) -> None:
    theirs.send(call())
