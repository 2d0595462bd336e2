"""A part that many have open is drawn once for a hint, and shows each of them only what they may see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from console import drawings
from console.ui.shared import board, shared
from tests import rows

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def opened() -> Iterator[None]:
    """As in a process that serves pages."""
    board.open()
    yield
    board.close()


def person(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_console", *permissions]))
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def part(client: Client, address: str, name: str) -> str:
    answer = client.get(address, headers={"HX-Request": "true", "HX-Target": name})
    assert answer.status_code == 200
    return answer.content.decode()


class TestSharedPart:
    def test_is_drawn_once_for_those_who_may_see_the_same(self) -> None:
        ana, ben = person("ana"), person("ben")
        first = part(ana, "/dead-letters", "groups")
        rows.dead_letter(rows.message())
        assert part(ben, "/dead-letters", "groups") == first

    def test_is_drawn_anew_after_a_hint(self) -> None:
        ana, ben = person("ana"), person("ben")
        first = part(ana, "/dead-letters", "groups")
        rows.dead_letter(rows.message())
        board.wipe()
        assert part(ben, "/dead-letters", "groups") != first

    def test_is_drawn_anew_after_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ana = person("ana")
        first = part(ana, "/dead-letters", "groups")
        rows.dead_letter(rows.message())
        monkeypatch.setattr(drawings, "SECONDS", 0.0)
        assert part(ana, "/dead-letters", "groups") != first

    def test_is_drawn_anew_after_a_form_was_sent(self) -> None:
        ana = person("ana", "operate")
        rows.consumer("orders.reserve")
        assert "Resume…" not in part(ana, "/consumers/orders.reserve", "consumer")
        sent = {"minutes": "15", "reason": "The card provider is down."}
        assert ana.post("/consumers/orders.reserve/pause", sent).status_code == 302
        assert "Resume…" in part(ana, "/consumers/orders.reserve", "consumer")

    def test_shows_a_viewer_no_operators_drawing(self) -> None:
        viewer, operator = person("vera"), person("olga", "operate")
        rows.consumer("orders.reserve")
        assert "Drain…" in part(operator, "/consumers/orders.reserve", "consumer")
        assert "Drain…" not in part(viewer, "/consumers/orders.reserve", "consumer")
        assert "Drain…" in part(operator, "/consumers/orders.reserve", "consumer")

    def test_is_not_shown_without_the_permission_to_see(self) -> None:
        part(person("ana"), "/dead-letters", "groups")
        nobody = Client()
        nobody.force_login(User.objects.create_user("nora"), backend="django.contrib.auth.backends.ModelBackend")
        headers = {"HX-Request": "true", "HX-Target": "groups"}
        assert nobody.get("/dead-letters", headers=headers).status_code == 403
        assert Client().get("/dead-letters", headers=headers).status_code == 401

    def test_of_another_address_is_another(self) -> None:
        ana = person("ana")
        one, two = rows.message(type="shop.OrderPlaced"), rows.message(type="shop.OrderPaid")
        listed = [part(ana, f"/messages?type={name}&upto={two.id}", "rows") for name in (one.type, two.type)]
        assert listed[0] != listed[1]


class TestShared:
    """The decorator, around views of every kind."""

    def ask(self, view: Callable[[HttpRequest], HttpResponse], name: str) -> HttpResponse:
        request = RequestFactory().get("/here", headers={"HX-Target": "part", "Cookie": f"who={name}"})
        request.user = User(username=name, is_superuser=True)
        return view(request)

    def drawn_for(self, view: Callable[[HttpRequest], HttpResponse]) -> list[bytes]:
        return [self.ask(view, name).content for name in ("ana", "ben")]

    def test_draws_what_says_who_is_reading_for_each(self) -> None:
        @shared("part")
        def greeting(request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.user.get_username())

        assert self.drawn_for(greeting) == [b"ana", b"ben"]

    def test_hides_what_a_browser_sends(self) -> None:
        @shared("part")
        def cookie(request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.COOKIES.get("who", "unknown"))

        assert self.drawn_for(cookie) == [b"unknown", b"unknown"]

    def test_draws_a_token_for_each(self) -> None:
        from django.middleware.csrf import get_token

        @shared("part")
        def form(request: HttpRequest) -> HttpResponse:
            return HttpResponse(get_token(request))

        first, second = self.drawn_for(form)
        assert first != second

    def test_tries_no_onlooker_again_where_a_token_is_drawn(self) -> None:
        from django.middleware.csrf import get_token

        askers = []

        @shared("part")
        def form(request: HttpRequest) -> HttpResponse:
            askers.append(type(request.user).__name__)
            return HttpResponse(get_token(request))

        self.drawn_for(form)
        assert askers == ["Onlooker", "User", "User"]

    def test_draws_at_the_same_time_only_once(self) -> None:
        drawn = []

        @shared("part")
        def slow(request: HttpRequest) -> HttpResponse:
            drawn.append(threading.get_ident())
            time.sleep(0.1)
            return HttpResponse(str(len(drawn)))

        with ThreadPoolExecutor(8) as threads:
            answers = set(threads.map(lambda name: self.ask(slow, name).content, "abcdefgh"))
        assert (len(drawn), answers) == (1, {b"1"})

    def test_hands_out_nothing_that_began_before_the_hint(self) -> None:
        began, told = threading.Event(), threading.Event()
        drawn = []

        @shared("part")
        def overtaken(request: HttpRequest) -> HttpResponse:
            drawn.append(1)
            number = len(drawn)
            began.set()
            told.wait(5)
            return HttpResponse(str(number))

        with ThreadPoolExecutor(2) as threads:
            early = threads.submit(self.ask, overtaken, "ana")
            began.wait(5)
            board.wipe()
            late = threads.submit(self.ask, overtaken, "ben")
            time.sleep(0.05)
            told.set()
            assert (early.result().content, late.result().content) == (b"1", b"2")

    def test_keeps_no_more_than_so_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(drawings, "MOST", 3)

        @shared("part")
        def page(request: HttpRequest) -> HttpResponse:
            return HttpResponse(request.get_full_path())

        for number in range(10):
            request = RequestFactory().get(f"/{number}", headers={"HX-Target": "part"})
            request.user = User(username="ana", is_superuser=True)
            assert page(request).content == f"/{number}".encode()
        assert len(board._places) == 3
