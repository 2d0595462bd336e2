"""Browsers that have pages of the console open, as far as the server notices them.

Each follows static/js/live.js and htmx: it gathers hints, reads the parts of its page again that name them in
hx-trigger (taken from the page itself), sends htmx's headers, and connects again when its socket closes.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Origin

APART, TAIL, SILENT_AFTER = 1.0, 3.5, 10.0
"""Those of live.js, in seconds."""
PATIENCE = 15.0
"""htmx's timeout of a request, in seconds, as base.html sets it."""
CONNECTIONS = 6
"""What a browser opens to one server at most."""
_TAG = re.compile(r"<\w+\s[^<>]*\bhx-trigger=\"[^\"]*(?:changed:|every )[^\"]*\"[^<>]*>")
_BODY = re.compile(r"<body[^<>]*>")


@dataclass
class Tally:
    """What all browsers saw while it counts. Times are seconds since the epoch, lengths milliseconds."""

    is_counting: bool = False
    hints: int = 0
    gaps: int = 0
    """Hints that said "everything may have changed" because an earlier one was missed."""
    fetches: list[tuple[str, float]] = field(default_factory=list)
    """Each part with how long it took."""
    heard: list[tuple[str, float]] = field(default_factory=list)
    """Each topic of a hint with when it was received; gaps are left out, they say nothing about one change."""
    disconnects: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def answered(self, part: str, milliseconds: float) -> None:
        if self.is_counting:
            self.fetches.append((part, milliseconds))

    def failed(self, what: str) -> None:
        """Note an error; one outside of the measured time counts too."""
        self.errors[what] += 1

    def hinted(self, topics: list[str], *, is_gap: bool) -> None:
        if not self.is_counting:
            return
        self.hints += 1
        if is_gap:
            self.gaps += 1
            return
        now = time.time()
        self.heard += [(topic, now) for topic in topics]


@dataclass
class Part:
    """An element that reads itself again; ``events`` maps what it waits for to its throttle in seconds."""

    id: str
    address: str
    values: dict[str, str]
    is_morphed: bool
    events: dict[str, float]
    every: float | None
    open_at: float = 0.0
    """Until then the throttle drops events; on the loop's clock."""
    is_asked: bool = False
    is_wanted_again: bool = False
    poll: asyncio.TimerHandle | None = None

    def is_like(self, other: Part) -> bool:
        return (self.address, self.values, self.events, self.every) == (
            other.address, other.values, other.events, other.every,
        )  # fmt: skip

    def forget(self) -> None:
        if self.poll is not None:
            self.poll.cancel()


class _Attributes(HTMLParser):
    def __init__(self, tag: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found = {name: value or "" for name, value in attrs}


def parts_of(html: str) -> list[Part]:
    """Return the parts of a page, or of an answer, that read themselves again."""
    found = (_Attributes(tag).found for tag in _TAG.findall(html))
    return [_part(attributes) for attributes in found if "hx-get" in attributes]


def _part(attributes: dict[str, str]) -> Part:
    events: dict[str, float] = {}
    every = None
    for trigger in attributes["hx-trigger"].split(","):
        words = trigger.split()
        if words[0] == "every":
            every = _seconds(words[1])
        elif words[0].startswith("changed:"):
            throttle = next((word for word in words if word.startswith("throttle:")), "throttle:0s")
            events[words[0]] = _seconds(throttle.partition(":")[2])
    return Part(
        id=attributes["id"],
        address=attributes["hx-get"],
        values=json.loads(attributes.get("hx-vals", "{}")),
        is_morphed=attributes.get("hx-swap", "").startswith("morph:"),
        events=events,
        every=every,
    )


def _seconds(text: str) -> float:
    return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


class Browser:
    """One person's open page. ``page`` is its path, ``session`` the value of the session cookie."""

    def __init__(self, address: str, page: str, *, session: str, tally: Tally, tls: ssl.SSLContext) -> None:
        self.page = page
        self._url = address + page
        self._origin = address
        self._session = session
        self._tally = tally
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        self._client = httpx.AsyncClient(
            cookies={"sessionid": session}, timeout=PATIENCE, limits=limits, verify=tls, trust_env=False
        )
        self._parts: dict[str, Part] = {}
        self._headers: dict[str, str] = {}
        self._live = ""
        self._topics: list[str] = []
        self._waiting: set[str] = set()
        self._lately: set[str] = set()
        self._fired_at = 0.0
        self._firing: asyncio.TimerHandle | None = None
        self._tail: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Load the page and follow its hints.

        Raises:
            RuntimeError: the page was not served.
        """
        answer = await self._client.get(self._url)
        if answer.status_code != 200:
            raise RuntimeError(f"{self.page} was answered with status {answer.status_code}")
        tag = _BODY.search(answer.text)
        body = _Attributes(tag.group()).found if tag else {}
        self._live = urljoin(self._url, body["data-live"]).replace("http", "ws", 1)
        self._topics = body["data-topics"].split()
        self._headers = json.loads(body["hx-headers"])
        for part in parts_of(answer.text):
            self._put(part)
        self._start(self._follow())

    async def close(self) -> None:
        for timer in (self._firing, self._tail):
            if timer is not None:
                timer.cancel()
        for part in self._parts.values():
            part.forget()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            self._tally.failed(f"{self.page}: {problem!r}")

    async def _follow(self) -> None:
        waits, cookie = 0, {"Cookie": f"sessionid={self._session}"}
        while True:
            try:
                async with connect(
                    self._live, origin=Origin(self._origin), additional_headers=cookie,
                    proxy=None, ping_interval=None, open_timeout=PATIENCE,
                ) as socket:  # fmt: skip
                    waits = 0
                    await self._listen(socket)
            except (ConnectionClosed, TimeoutError) as problem:
                self._tally.disconnects += 1
                self._tally.failed(f"socket of {self.page}: {type(problem).__name__}: {problem}")
            except (OSError, InvalidHandshake) as problem:
                self._tally.failed(f"no socket for {self.page}: {type(problem).__name__}: {problem}")
            waits = min(waits + 1, 6)
            await asyncio.sleep(0.25 * 2**waits * (0.5 + random.random() / 2))

    async def _listen(self, socket: ClientConnection) -> None:
        last = None  # of this connection: nothing was heard since the page was rendered
        while True:
            async with asyncio.timeout(SILENT_AFTER):
                frame = json.loads(await socket.recv())
            is_behind = last is None or frame["seq"] != last + 1
            last = frame["seq"]
            if frame["topics"]:
                self._tally.hinted(frame["topics"], is_gap=len(frame["topics"]) == len(self._topics))
            self._fire(self._topics if is_behind else [name for name in frame["topics"] if name in self._topics])

    # live.js: hints are gathered, fired together at most once a second, and once more when they have stopped.

    def _fire(self, topics: Iterable[str]) -> None:
        self._waiting.update(topics)
        if self._waiting and self._firing is None:
            loop = asyncio.get_running_loop()
            self._firing = loop.call_later(max(0.0, self._fired_at + APART - loop.time()), self._flush)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        self._firing, self._fired_at = None, loop.time()
        topics = set(self._waiting)
        self._waiting.clear()
        self._lately |= topics
        if self._tail is not None:
            self._tail.cancel()
        self._tail = loop.call_later(TAIL, self._fire_last)
        self._dispatch(topics)

    def _fire_last(self) -> None:
        topics = set(self._lately)
        self._lately.clear()
        self._dispatch(topics)

    def _dispatch(self, topics: set[str]) -> None:
        now = asyncio.get_running_loop().time()
        events = [f"changed:{topic}" for topic in topics] + (["changed:any"] if topics else [])
        for part in list(self._parts.values()):
            for event in events:
                if event in part.events and now >= part.open_at:
                    part.open_at = now + part.events[event]
                    self._trigger(part)

    # htmx: one request of an element at a time, the last trigger meanwhile waits; what is swapped out is forgotten with
    # its throttle, what is morphed keeps it.

    def _trigger(self, part: Part) -> None:
        if part.is_asked:
            part.is_wanted_again = True
            return
        part.is_asked, part.is_wanted_again = True, False
        self._start(self._ask(part))

    async def _ask(self, part: Part) -> None:
        name = f"{self.page} #{part.id}"
        headers = {
            **self._headers, "HX-Request": "true", "HX-Trigger": part.id, "HX-Target": part.id,
            "HX-Current-URL": self._url, "Accept": "*/*", "Referer": self._url,
        }  # fmt: skip
        url = httpx.URL(urljoin(self._url, part.address)).copy_merge_params(part.values)
        began = time.perf_counter()
        try:
            answer = await self._client.get(url, headers=headers)
        except httpx.HTTPError as problem:
            self._tally.failed(f"{name}: {type(problem).__name__}")
        else:
            self._tally.answered(name, (time.perf_counter() - began) * 1000)
            if answer.status_code == 200:
                self._swap(part, answer.text)
            else:
                self._tally.failed(f"{name}: status {answer.status_code}")
        part.is_asked = False
        if part.is_wanted_again and self._parts.get(part.id) is part:
            self._trigger(part)

    def _swap(self, old: Part, html: str) -> None:
        found = {part.id: part for part in parts_of(html)}
        if old.id not in found:
            old.forget()
            with suppress(KeyError):
                del self._parts[old.id]
        for part in found.values():
            if not (old.is_morphed and part.id in self._parts and self._parts[part.id].is_like(part)):
                self._put(part)

    def _put(self, part: Part) -> None:
        if before := self._parts.get(part.id):
            before.forget()
        self._parts[part.id] = part
        self._poll(part)

    def _poll(self, part: Part) -> None:
        if part.every is not None:
            part.poll = asyncio.get_running_loop().call_later(part.every, self._polled, part)

    def _polled(self, part: Part) -> None:
        self._trigger(part)
        self._poll(part)
