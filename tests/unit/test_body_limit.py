"""A body past the limit is refused before it is read to its end, announced or not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from console.body_limit import limited


class Visit:
    """One request of the given parts, and what came of it."""

    def __init__(self, parts: list[bytes], *headers: tuple[bytes, bytes]) -> None:
        self.parts, self.read, self.sent = list(parts), b"", list[Mapping[str, Any]]()
        asyncio.run(limited(self.app, limit=10)({"type": "http", "headers": list(headers)}, self.receive, self.send))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    async def app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            self.read += message["body"]
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200})
                return

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self.parts.pop(0), "more_body": bool(self.parts)}

    async def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)


class TestLimited:
    def test_lets_a_body_of_the_limit_through(self) -> None:
        visit = Visit([b"12345", b"67890"], (b"content-length", b"10"))
        assert (visit.status, visit.read) == (200, b"1234567890")

    @pytest.mark.parametrize("length", [b"11", b"9" * 30])
    def test_reads_nothing_of_an_announced_giant(self, length: bytes) -> None:
        visit = Visit([b"x" * 11], (b"content-length", length))
        assert (visit.status, visit.read) == (413, b"")

    def test_stops_reading_an_unannounced_one(self) -> None:
        visit = Visit([b"x" * 8] * 50)
        assert (visit.status, len(visit.read), len(visit.parts)) == (413, 8, 48)
        assert b"larger than 10 bytes" in visit.sent[1]["body"]
