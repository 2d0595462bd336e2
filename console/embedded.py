"""Everything in one process: uvicorn in the main thread; relay, worker, scheduler and sample traffic beside it.

The broker lives in memory. What it forgets with the process is rebuilt from rows at the next start.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

import uvicorn
from django.conf import settings
from django.utils.module_loading import import_string

from console import web

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 4.0
"""What the parts get to finish after Ctrl-C; uvicorn's own end fits into the fifth second."""
WORKER_THREADS = 4


@dataclass
class Part:
    """A thread of the process, and how to ask it to end."""

    name: str
    run: Callable[[], None]
    stop: Callable[[], None]
    thread: threading.Thread = field(init=False)


class Parts:
    """Starts the threads, ends them, and ends the process when one of them dies."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self.is_stopping = False
        self.has_failed = False

    def start(self) -> None:
        for part in self._parts:
            part.thread = threading.Thread(target=self._supervise, args=[part], name=part.name, daemon=True)
            part.thread.start()

    def stop(self, *, seconds: float) -> list[str]:
        """Ask every part to end and return the names of those that did not within ``seconds``."""
        self.is_stopping = True
        deadline = time.monotonic() + seconds
        for part in self._parts:
            part.stop()
        for part in self._parts:
            part.thread.join(max(0.0, deadline - time.monotonic()))
        return [part.name for part in self._parts if part.thread.is_alive()]

    def _supervise(self, part: Part) -> None:
        try:
            part.run()
        except Exception:
            logger.critical("The %s stopped by an error; Signalbox ends with it.", part.name, exc_info=True)
        if not self.is_stopping:
            self.has_failed = True
            os.kill(os.getpid(), signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn, which at the first signal lets the parts finish while its event loop still serves them."""

    def __init__(self, parts: Parts, announce: Callable[[], None]) -> None:
        super().__init__(web.config())
        self._parts, self._announce = parts, announce
        self._is_ending = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._is_ending:
            os._exit(128 + sig)  # loses nothing: what was claimed is rescued at the next start
        self._is_ending = True
        threading.Thread(target=self._drain, name="shutdown").start()

    def _drain(self) -> None:
        late = self._parts.stop(seconds=DRAIN_SECONDS)
        if late:
            logger.warning("Not finished in time, will run again at the next start: %s.", ", ".join(late))
        self.should_exit = True


def run(listener: socket.socket, *, announce: Callable[[], None]) -> int:
    """Serve until a signal comes; return the exit status."""
    from messaging import rescue
    from messaging.delivery.presence import presence, sign_off

    rescue.adopt_orphans()  # the only process on this data, so every claim belongs to a dead one
    for role in ("web", "worker", "scheduler"):
        presence(role)
    parts = Parts([relay(), worker(), scheduler(), *sample_traffic()])
    server = Server(parts, announce)
    parts.start()
    server.run(sockets=[listener])
    if not server.started:
        parts.stop(seconds=DRAIN_SECONDS)
    sign_off()
    status = 0 if server.started and not parts.has_failed else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a handler that does not end would hold the interpreter's own exit


def relay() -> Part:
    from messaging import relay

    stop = threading.Event()
    return Part("relay", lambda: relay.run(stop), stop.set)


def worker() -> Part:
    from celery.worker import WorkController, state

    from console.celery import app
    from messaging import wakeups
    from messaging.delivery import loop

    def run() -> None:
        controller = WorkController(
            app=app,
            hostname=f"embedded@{socket.gethostname()}",
            pool_cls="threads",
            concurrency=WORKER_THREADS,
            queues=wakeups.queue_names(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        controller.start()

    def stop() -> None:
        loop.stopping.set()
        state.should_stop = 0  # what its SIGTERM handler does; that one is for a main thread
        # It looks at that when a message came or two seconds passed, and then waits for one message more.
        for _ in range(2):
            app.send_task("messaging.resume_expired_pauses", queue=wakeups.MAINTENANCE_QUEUE)

    return Part("worker", run, stop)


def scheduler() -> Part:
    from celery.beat import Scheduler, Service

    from console.celery import app, schedule

    app.conf.beat_schedule = schedule()
    service = Service(app, scheduler_cls=Scheduler)
    return Part("scheduler", service.start, service.stop)


def sample_traffic() -> list[Part]:
    if not settings.SAMPLE_TRAFFIC:
        return []
    generate = import_string(settings.SAMPLE_TRAFFIC_SOURCE)
    stop = threading.Event()
    return [Part("sample traffic", lambda: generate(stop), stop.set)]
