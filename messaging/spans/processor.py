"""From a finished span to the store: a bounded queue and one thread, so that no delivery ever waits for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from django.db import connection
from django.db.utils import DatabaseError, InterfaceError
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from messaging.settings import options
from messaging.spans.records import from_sdk
from messaging.spans.storing import write

log = logging.getLogger("messaging.spans")
PERIOD = 0.4
"""Seconds between two writes: a span is on a page within a second of its end."""
BATCH = 1_000


def queue_limit() -> int:
    return options().span_queue


class StoreProcessor(SpanProcessor):
    """Keeps sampled spans in the database. Full queue or database away: spans are dropped and counted.

    ``quietly`` surrounds each write, so that the instrumentations do not trace the tracing.
    """

    def __init__(self, quietly: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.dropped = 0
        self._quietly = quietly
        self._start_over()
        os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        """Forget what the parent of a fork has queued: it writes that itself."""
        self._waiting: deque[ReadableSpan] = deque()
        self._has_some = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        self._is_over = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        return

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._waiting) >= queue_limit():
            self.dropped += 1
            return
        self._waiting.append(span)
        if not self._has_some.is_set():
            self._has_some.set()
            if self._thread is None:
                self._start()

    def shutdown(self) -> None:
        self._is_over = True
        self._has_some.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write what waits, in the caller's thread."""
        with self._quietly():
            while self._waiting:
                self._write_some()
        return True

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="span-store", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        with self._quietly():
            while not self._is_over:
                self._has_some.wait()
                if not self._is_over:
                    time.sleep(PERIOD)
                self._has_some.clear()
                while self._waiting:
                    self._write_some()
        connection.close()

    def _write_some(self) -> None:
        with self._writing:
            spans = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
            try:
                write([from_sdk(span) for span in spans])
            except (DatabaseError, InterfaceError) as error:
                self.dropped += len(spans)
                log.warning("%d spans were not stored: %s", len(spans), error)
                connection.close()
