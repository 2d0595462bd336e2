"""Django over ASGI, in a fixed number of threads.

Django's own handler makes a thread for each request and passes between it and the loop at every step. Fifty browsers
that read at once are fifty threads then, and the loop, which has hints to tell, waits behind all of them for its turn
of the interpreter. Here a request waits for one of few threads, is answered there whole, and finds its connection to
the database still open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from tempfile import SpooledTemporaryFile
from typing import Any, cast

from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponseBase, StreamingHttpResponse
from django.urls import set_script_prefix

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Body = SpooledTemporaryFile[bytes]

THREADS = 8
"""What waits for the database or for a drawing holds a thread; more of them only take turns at the interpreter."""
PROBES = ("/healthz", "/readyz", "/metrics")
"""Answered in threads of their own: that pages are slow is no reason to take a process for dead."""


class Crowd:
    """How many requests there are: changed on the loop, read from anywhere."""

    def __init__(self) -> None:
        self.here = 0

    @property
    def is_waiting(self) -> bool:
        """Tell whether a request has to wait for a thread."""
        return self.here > THREADS


crowd = Crowd()


class Pages(ASGIHandler):
    """Answers each request in one of ``THREADS`` threads."""

    def __init__(self) -> None:
        self.load_middleware(is_async=False)
        self._pages = ThreadPoolExecutor(THREADS, thread_name_prefix="page")
        self._probes = ThreadPoolExecutor(2, thread_name_prefix="probe")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            body = cast(Body, await self.read_body(receive))
        except RequestAborted:
            return
        threads = self._probes if scope["path"] in PROBES else self._pages
        crowd.here += 1
        try:
            job = threads.submit(copy_context().run, self._answer, scope, body, time.monotonic())
            found = await self._unless_gone(job, receive)
        finally:
            crowd.here -= 1
        if found is None:
            body.close()
        else:
            await _send(*found, send)

    async def _unless_gone(
        self, job: Future[tuple[HttpResponseBase, list[bytes]]], receive: Receive
    ) -> tuple[HttpResponseBase, list[bytes]] | None:
        """Wait for the answer; who leaves while waiting for a thread is not answered at all."""
        answer = asyncio.wrap_future(job)
        gone = asyncio.ensure_future(receive())
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not answer.done() and job.cancel():
            return None
        return await answer

    def _answer(self, scope: dict[str, Any], body: Body, asked_at: float) -> tuple[HttpResponseBase, list[bytes]]:
        """Return the response with its content: all of it is made here, where its connection to the database is."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refused = self.create_request(scope, body)
        if request is not None:
            request.asked_at = asked_at  # type: ignore[attr-defined]
        response = cast(HttpResponseBase, refused if request is None else self.get_response(request))
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # sender of request_finished  # noqa: SLF001
        try:
            return response, _content(response)
        finally:
            response.close()
            body.close()


def _content(response: HttpResponseBase) -> list[bytes]:
    if not response.streaming:
        return [cast(Any, response).content]
    streamed = cast(StreamingHttpResponse, response)
    if streamed.is_async:
        raise TypeError("pages are made in threads: give an iterator that is not asynchronous")
    return [streamed.make_bytes(part) for part in cast(Any, streamed.streaming_content)]


async def _send(response: HttpResponseBase, parts: list[bytes], send: Send) -> None:
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    cookies = [(b"Set-Cookie", each.output(header="").encode("ascii").strip()) for each in response.cookies.values()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers + cookies})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1] if parts else b""})
