"""Kombu's transport for Redis, with one client for each pool, without spans, and without waiting for what nobody asked.

Kombu makes a client for each command, and redis-py fills a table of all its commands for each client: that takes longer
than to put a message in a queue, to note that it was taken or to acknowledge it, while a lone message waits. Spans of
these would be in nobody's trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

from kombu.transport import redis
from opentelemetry.instrumentation.utils import suppress_instrumentation

_Channel: Any = redis.Channel  # without types


class Channel(_Channel):  # type: ignore[misc]
    """Keeps its client: it has no state of its own, and gives each command a connection of the pool."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:  # the pool is another after a fork
            self._kept = super()._create_client()
        return self._kept

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        with suppress_instrumentation():
            yield client or self._create_client()

    def _brpop_read(self, **options: Any) -> Any:
        """Read the reply to a BRPOP, where one is due.

        After connections were lost the loop may see this one as readable with nothing asked of it. Kombu would wait for
        a reply all the same, and a worker with it, until somebody restarts one of them.

        Raises:
            Empty: no reply is due, or it brought nothing.
        """
        if not self._in_poll:
            self.client.connection.disconnect()  # it may have been closed by the server; the loop opens another
            raise Empty
        return super()._brpop_read(**options)


class Transport(redis.Transport):
    Channel = Channel
