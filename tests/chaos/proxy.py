"""A proxy in front of PostgreSQL that reads just enough of the protocol to cut where it hurts most.

It sees a COMMIT go out: the client cannot know whether its transaction was committed. Some of these cuts come after
the server's answer and before the client has it, some before the server has seen the COMMIT: the right conduct is the
same in both. It can also cut at any statement, for those that commit by themselves.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal

Cut = Literal["after", "before", "answer"]
"""At a COMMIT, after or before the server carried it out; or at whatever is asked next, before its answer."""
READ_SIZE = 65_536
ANSWER_SECONDS = 2.0
_TYPED_HEADER, _FIRST_HEADER = 5, 4


class Frames:
    """Splits what a client sends into the protocol's messages."""

    def __init__(self) -> None:
        self._buffer = b""
        self._is_first = True  # the start-up message alone bears no type

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages completed by ``data``."""
        self._buffer += data
        return list(iter(self._next, b""))

    def _next(self) -> bytes:
        header = _FIRST_HEADER if self._is_first else _TYPED_HEADER
        if len(self._buffer) < header:
            return b""
        length = header - 4 + int.from_bytes(self._buffer[header - 4 : header], "big")
        if len(self._buffer) < length:
            return b""
        message, self._buffer, self._is_first = self._buffer[:length], self._buffer[length:], False
        return message


def is_commit(message: bytes) -> bool:
    """Say whether a client's message is COMMIT: as a simple query, or as the parse of an extended one."""
    if message[:1] == b"Q":
        return message[5:].upper().startswith(b"COMMIT\0")
    return message[:1] == b"P" and message[5:].upper().endswith(b"\0COMMIT\0\0\0")


class Proxy:
    """Listens on a loopback port, in a thread of its own, for as long as the process lives."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._armed: list[Cut] = []
        self.cuts: Counter[Cut] = Counter()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._is_ready = threading.Event()
        threading.Thread(target=self._run, name="proxy", daemon=True).start()
        self._is_ready.wait()

    def arm(self, cuts: list[Cut]) -> None:
        """Cut at the next opportunities, whoever gives them."""
        self._armed.extend(cuts)

    def disarm(self) -> None:
        self._armed.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_ready.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            writer.transport.abort()
            return
        client = _Client(self, reader, writer, from_server, to_server)
        await _until_one_ends(client.pass_requests(), client.pass_answers())
        writer.transport.abort()
        to_server.transport.abort()

    def take_cut(self, message: bytes) -> Cut | None:
        """Return how to cut at this message of a client, if at all."""
        is_fit = self._armed and (message[:1] in b"SQ" if self._armed[0] == "answer" else is_commit(message))
        return self._armed.pop(0) if is_fit else None


class _Client:
    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader, to_server: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._from_server, self._to_server = from_server, to_server
        self._is_cut = False
        self._is_answered = asyncio.Event()

    async def pass_requests(self) -> None:
        frames = Frames()
        while data := await self._reader.read(READ_SIZE):
            for message in frames.feed(data):
                cut = self._proxy.take_cut(message)
                if cut is not None:
                    await self._cut(message, cut)
                    return
                self._to_server.write(message)
            await self._to_server.drain()

    async def pass_answers(self) -> None:
        while data := await self._from_server.read(READ_SIZE):
            if self._is_cut:
                self._is_answered.set()
                continue
            self._writer.write(data)
            await self._writer.drain()

    async def _cut(self, message: bytes, cut: Cut) -> None:
        """End the client's connection; the caller ends the server's."""
        self._is_cut = True
        if cut != "before":
            self._to_server.write(message)
            await self._to_server.drain()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._is_answered.wait()
        self._proxy.cuts[cut] += 1


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
