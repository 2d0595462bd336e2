"""Runs the sample traffic of all flows in one thread, so that together they never hold more than one connection."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import DatabaseError, close_old_connections, connection

from examples.sampling import switch
from examples.sampling.flow import Flow

_LOOK_SECONDS = 0.25
_log = logging.getLogger(__name__)


@dataclass
class _Source:
    """One flow under way."""

    flow: Flow
    due: float
    steps: Iterator[None] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.flow.traffic()

    def step(self, now: float) -> None:
        # What was missed while the machine slept is not made up for.
        self.due = max(self.due + self.flow.seconds_between, now - 1)
        next(self.steps)


def run(stop: threading.Event) -> None:
    """Make traffic for every flow whose switch is on, until ``stop`` is set."""
    sources: dict[str, _Source] = {}
    try:
        while not stop.is_set():
            try:
                _follow_switches(sources)
                _step_until(time.monotonic() + _LOOK_SECONDS, sources, stop)
            except DatabaseError:
                _log.warning("Sample traffic: the database did not answer, trying again.", exc_info=True)
                sources.clear()  # a generator that raised is over
                close_old_connections()
                stop.wait(_LOOK_SECONDS)
    finally:
        connection.close()


def _follow_switches(sources: dict[str, _Source]) -> None:
    standing = {each.name: each for each in switch.status() if each.is_on}
    for name in sources.keys() - standing.keys():
        del sources[name]
    for flow in switch.flows():
        if flow.name in standing and flow.name not in sources:
            if not standing[flow.name].started_at:
                switch.set_running(flow.name, True, by="start")
            sources[flow.name] = _Source(flow, due=time.monotonic() + flow.first_after)


def _step_until(end: float, sources: dict[str, _Source], stop: threading.Event) -> None:
    """Step whichever flow is due next, until the switches are to be looked at again."""
    while not stop.is_set():
        now = time.monotonic()
        source = min(sources.values(), key=lambda each: each.due, default=None)
        if source is None or source.due > end or now > end:
            stop.wait(max(end - now, 0))
            return
        if source.due > now:
            stop.wait(source.due - now)
        else:
            source.step(now)
