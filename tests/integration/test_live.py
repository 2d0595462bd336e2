"""The live socket: who may listen, what arrives, when it closes."""

# asgiref types its test communicator only in part.
# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client

from console.asgi import application
from console.live.audience import APART
from console.live.groups import HINTS
from console.live.hints import PERIOD as SENT_EVERY
from console.serving import THREADS, crowd
from messaging import signals
from messaging.signals import TOPICS
from messaging.spans.processor import PERIOD as STORED_EVERY
from messaging.spans.processor import StoreProcessor
from tests.factories import arrive, elsewhere
from tests.processes import PATIENCE
from tests.traced import provide

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = b"http://localhost:8000"


def person(*, name: str = "ana", may_view: bool = True) -> User:
    user = User.objects.create_user(name, password="a long pass phrase")
    if may_view:
        user.user_permissions.add(Permission.objects.get(codename="view_console"))
    return user


def browser(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


class Socket(ApplicationCommunicator):
    """One open page. (The communicator of channels.testing imports a server that is not installed.)"""

    async def connect(self) -> bool:
        await self.send_input({"type": "websocket.connect"})
        return bool((await self.receive_output(PATIENCE))["type"] == "websocket.accept")

    async def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads((await self.receive_output(PATIENCE))["text"])
        return frame

    async def frame_with(self, topic: str) -> dict[str, Any]:
        while True:
            frame = await self.frame()
            if topic in frame["topics"]:
                return frame

    async def close_code(self) -> int:
        while True:
            message: dict[str, Any] = await self.receive_output(PATIENCE)
            if message["type"] == "websocket.close":
                return int(message["code"])

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(PATIENCE)


def page(client: Client, origin: bytes = ORIGIN) -> Socket:
    headers = [(b"origin", origin), (b"host", b"localhost")]
    if settings.SESSION_COOKIE_NAME in client.cookies:
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode()))
    scope = {"type": "websocket", "path": "/ws/live", "query_string": b"", "headers": headers, "subprotocols": []}
    return Socket(application, scope)


async def hear_out(client: Client) -> None:
    """Hear what tests before this one changed: one thread sends it all, in order, and this change is the last."""
    socket = page(client)
    await socket.connect()
    signals.changed.send(sender=None, topics=frozenset({"audit"}))
    await socket.frame_with("audit")
    await socket.leave()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())


class TestLiveSocket:
    def test_sends_a_first_frame_to_a_signed_in_viewer(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            socket = page(client)
            assert await socket.connect()
            assert await socket.frame() == {"seq": 1, "topics": []}
            await socket.leave()

        run(scenario)

    def test_closes_for_someone_who_is_not_signed_in(self) -> None:
        async def scenario() -> None:
            socket = page(Client())
            await socket.connect()
            assert await socket.close_code() == 4401

        run(scenario)

    def test_closes_for_someone_without_the_permission(self) -> None:
        client = browser(person(may_view=False))

        async def scenario() -> None:
            socket = page(client)
            await socket.connect()
            assert await socket.close_code() == 4403

        run(scenario)

    def test_refuses_a_page_of_another_site(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            socket = page(client, origin=b"https://evil.example")
            assert not await socket.connect()

        run(scenario)

    def test_passes_a_hint_on_with_the_next_number(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            socket = page(client)
            await socket.connect()
            first = await socket.frame()
            signals.changed.send(sender=None, topics=frozenset({"dead_letters"}))
            frame = await socket.frame_with("dead_letters")
            assert frame["seq"] > first["seq"]
            await socket.leave()

        run(scenario)

    def test_hears_changes_committed_in_other_threads(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            socket = page(client)
            await socket.connect()
            await asyncio.to_thread(signals.changed.send, sender=None, topics=frozenset({"consumers"}))
            assert await socket.frame_with("consumers")
            await socket.leave()

        run(scenario)

    def test_is_told_of_a_trace_as_soon_as_its_spans_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client = browser(person())
        monkeypatch.setattr("django.conf.settings.TRACE_RATIO", 1.0)
        processor = StoreProcessor()
        provide(monkeypatch, processor)

        async def scenario() -> None:
            socket = page(client)
            await socket.connect()
            await asyncio.wrap_future(elsewhere(lambda: arrive("ICE 1")))  # its span waits for the store's own thread
            assert await socket.frame_with("traces")
            found = await sync_to_async(client.get)("/traces")
            assert "publish tests.TrainArrived" in found.content.decode()
            await socket.leave()

        run(scenario)
        processor.shutdown()

    def test_waits_less_than_a_second_in_all(self) -> None:
        assert STORED_EVERY + SENT_EVERY < 1.0

    def test_closes_at_sign_out(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            socket = page(client)
            await socket.connect()
            await socket.frame()
            await sync_to_async(client.logout)()
            assert await socket.close_code() == 4401

        run(scenario)

    def test_tells_a_page_that_missed_a_hint_to_read_everything(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            await hear_out(client)
            socket = page(client)
            await socket.connect()
            layer = get_channel_layer()
            for number in (7, 9):  # the second is told a second later
                hint = {"type": "hint", "origin": "elsewhere", "number": number, "topics": ["audit"]}
                await layer.group_send(HINTS, hint)
            frames = [await socket.frame_with("audit"), await socket.frame_with("messages")]
            assert frames[0]["topics"] == ["audit"]
            assert set(frames[1]["topics"]) == set(TOPICS)
            await socket.leave()

        run(scenario)

    def test_is_told_of_many_changes_at_once(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            await hear_out(client)
            sockets = [page(client) for _ in range(3)]
            for socket in sockets:
                await socket.connect()
                await socket.frame()
            layer = get_channel_layer()
            for number, topic in enumerate(("audit", "messages", "consumers", "sagas"), 1):
                hint = {"type": "hint", "origin": "elsewhere", "number": number, "topics": [topic]}
                await layer.group_send(HINTS, hint)
            for socket in sockets:
                told = [await socket.frame(), await socket.frame()]
                assert [topic for frame in told for topic in frame["topics"]] == [
                    "audit",
                    "consumers",
                    "messages",
                    "sagas",
                ]
                assert [frame["seq"] for frame in told] == [2, 3]
            for socket in sockets:
                await socket.leave()

        run(scenario)

    def test_hears_again_after_all_had_left(self) -> None:
        client = browser(person())

        async def scenario() -> None:
            for _ in range(2):
                socket = page(client)
                await socket.connect()
                await socket.frame()
                signals.changed.send(sender=None, topics=frozenset({"audit"}))
                assert await socket.frame_with("audit")
                await socket.leave()

        run(scenario)

    def test_is_told_later_while_requests_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client = browser(person())
        monkeypatch.setattr(crowd, "here", THREADS + 1)

        async def scenario() -> None:
            await hear_out(client)
            socket = page(client)
            await socket.connect()
            await socket.frame()
            layer, clock = get_channel_layer(), asyncio.get_running_loop().time
            for number, topic in ((1, "audit"), (2, "sagas")):
                await layer.group_send(HINTS, {"type": "hint", "origin": "x", "number": number, "topics": [topic]})
                await asyncio.sleep(0.05)
            await socket.frame_with("audit")
            began = clock()
            await socket.frame_with("sagas")
            assert clock() - began > APART + 0.5
            await socket.leave()

        run(scenario)
