"""Limits on the pages: what holds a consumer is seen, and an operator changes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from console import roles
from console.ui import context as page_context
from messaging import Breaker, Dependency, Rate
from messaging.database import store
from messaging.dependencies import forget_dependency
from messaging.models import AuditRecord, ConsumerState, Gate, Rollup
from tests.factories import ANNOUNCE

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = f"/consumers/{ANNOUNCE}"


@pytest.fixture(autouse=True)
def nothing_kept_from_another_test() -> Iterator[None]:
    page_context.forget()
    yield
    page_context.forget()


@pytest.fixture
def guarded(station: Any) -> Iterator[None]:
    Dependency("signal-box")
    station.declare(breaker=Breaker(), rate_limit=Rate(50), concurrency=4, depends_on=("signal-box",))
    yield
    forget_dependency("signal-box")


def signed_in(role: roles.Role) -> Client:
    user = User.objects.create_user(role)
    roles.set_role(user, role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def seen(client: Client, path: str, **form: str) -> str:
    answer = client.post(path, form, follow=True) if form else client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


class TestConsumerPage:
    def test_shows_and_changes_every_limit(self, guarded: None) -> None:
        ana = signed_in("operator")
        page = seen(ana, PAGE)
        assert all(text in page for text in ("5 failures in a row", "50 per 1s", "4 at once", "signal-box"))
        assert "Tripped by operator" in seen(ana, f"{PAGE}/trip", reason="works", minutes="")
        assert "Breaker open" in seen(ana, "/consumers")
        assert "is closed" in seen(ana, f"{PAGE}/reset", reason="")
        page = seen(ana, f"{PAGE}/limits", reason="calm", count="5", per="1m", concurrency="2")
        assert "instead of 50 per 1s" in page
        assert "of its code again" in seen(ana, f"{PAGE}/limits/clear", reason="")
        assert "drains" in seen(ana, f"{PAGE}/drain", reason="release")

    @pytest.mark.parametrize(
        "wrong", [{"count": "fast"}, {"concurrency": "0"}, {"count": "1", "per": "soon"}, {"x": ""}]
    )
    def test_says_what_was_refused_and_changes_nothing(self, guarded: None, wrong: dict[str, str]) -> None:
        assert "Nothing was changed." in seen(signed_in("operator"), f"{PAGE}/limits", reason="calm", **wrong)
        assert Gate.objects.get(id=f"consumer:{ANNOUNCE}").override == {}

    def test_forecasts_the_backlog_when_a_pause_ends_by_itself(self, guarded: None) -> None:
        minute = store().now().replace(second=0, microsecond=0)
        Rollup.objects.create(
            minute=minute, consumer=ANNOUNCE, outcome="handled", count=600, duration_us=1, critical_us=1
        )
        ends = store().now() + timedelta(minutes=10)
        ConsumerState.objects.filter(name=ANNOUNCE).update(paused_at=store().now(), paused_until=ends, paused_by="ana")
        assert "will wait then" in seen(signed_in("operator"), PAGE)

    @pytest.mark.parametrize("action", ["trip", "reset", "limits", "limits/clear", "drain"])
    def test_denies_whoever_may_only_look(self, guarded: None, action: str) -> None:
        form = {"reason": "r", "count": "1"}
        assert signed_in("viewer").post(f"{PAGE}/{action}", form).status_code == 403
        assert AuditRecord.objects.filter(outcome="denied").count() >= 1


class TestDependenciesPage:
    def test_trips_and_resets(self, guarded: None) -> None:
        ana = signed_in("operator")
        assert "Tripped by operator" not in seen(ana, "/dependencies")
        page = seen(ana, "/dependencies/signal-box/trip", reason="their works", minutes="")
        assert "tripped by operator" in page
        assert "their works" in page
        assert "The breaker of signal-box is open" in seen(ana, "/")
        assert "is closed" in seen(ana, "/dependencies/signal-box/reset", reason="")

    def test_keeps_each_button_with_its_dialog_when_rows_move(self, guarded: None) -> None:
        ana = signed_in("operator")
        before = seen(ana, "/dependencies")
        seen(ana, "/dependencies/signal-box/trip", reason="works", minutes="")  # and it goes to the top
        named = re.findall(
            r'<h2 class="cut" title="([^"]+)">.*?data-dialog="([^"]+)"', seen(ana, "/dependencies"), re.DOTALL
        )
        assert {name for name, _ in named} >= {"card-provider", "signal-box"}
        for name, dialog in named:
            titles = re.findall(rf'<h2 id="{re.escape(dialog)}-title">([^<]+)<', before)
            assert all(title.endswith(f" {name}") for title in titles), (name, dialog, titles)

    def test_shows_a_viewer_no_button(self, guarded: None) -> None:
        page = seen(signed_in("viewer"), "/dependencies")
        assert "signal-box" in page
        assert "Trip…" not in page

    def test_says_what_to_do_when_there_is_none(self, db: None) -> None:
        Gate.objects.all().delete()
        assert "No dependency is declared" in seen(signed_in("viewer"), "/dependencies")
