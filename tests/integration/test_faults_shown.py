"""Injected faults are seen on every page and by programs, and ended from there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from console import roles
from console.ui import context as page_context
from messaging import chaos
from messaging.models import AuditRecord, InjectedFault
from messaging.operations import Faults, inject_faults
from messaging.settings import options
from tests.api import Api, problem
from tests.factories import ANA

pytestmark = pytest.mark.django_db(transaction=True)
PAGES = ("/", "/messages", "/dead-letters", "/consumers", "/audit")


@pytest.fixture(autouse=True)
def allowed() -> Iterator[None]:
    """A system on which faults are allowed."""
    before = settings.MESSAGING
    settings.MESSAGING = {**before, "allow_faults": True}
    options.cache_clear()
    chaos.forget()
    page_context.forget()
    yield
    settings.MESSAGING = before
    options.cache_clear()
    chaos.forget()
    page_context.forget()


@pytest.fixture
def injected() -> None:
    inject_faults(
        consumer="*", faults=Faults(failure_rate=0.1), lasts=timedelta(minutes=10), actor=ANA,
        reason="<b>a game day</b>",
    )  # fmt: skip


def signed_in(role: roles.Role, name: str) -> Client:
    user = User.objects.create_user(name)
    roles.set_role(user, role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.usefixtures("injected")
class TestBanner:
    @pytest.mark.parametrize("page", PAGES)
    def test_is_on_every_page_and_escapes_the_reason(self, page: str) -> None:
        shown = signed_in("operator", "ana").get(page).content.decode()
        assert "Faults are injected" in shown
        assert "10 % of runs fail" in shown
        assert "<b>a game day</b>" not in shown

    def test_ends_them_by_its_button(self) -> None:
        client = signed_in("operator", "ana")
        answer = client.post("/faults/end", {"consumer": "*"}, follow=True).content.decode()
        assert "Faults for every consumer are ended." in answer
        assert "Faults are injected" not in answer
        assert not InjectedFault.objects.exists()

    def test_has_no_button_for_a_viewer_whose_attempt_is_denied_and_audited(self) -> None:
        client = signed_in("viewer", "vera")
        assert "/faults/end" not in client.get("/").content.decode()
        assert client.post("/faults/end", {"consumer": "*"}).status_code == 403
        assert InjectedFault.objects.exists()
        assert AuditRecord.objects.filter(action="faults.end", outcome="denied", actor="vera").exists()

    def test_is_gone_where_faults_are_not_allowed(self) -> None:
        settings.MESSAGING = {**settings.MESSAGING, "allow_faults": False}
        options.cache_clear()
        assert "Faults are injected" not in signed_in("operator", "ana").get("/").content.decode()


class TestRest:
    def test_injects_lists_and_ends(self) -> None:
        api = Api("read", "operate")
        made = api.post("/faults", {"failure_rate": 0.1, "reason": "a game day"})
        assert (made.status_code, made.json()["items"][0]["failure_rate"]) == (200, 0.1)
        assert [row["consumer"] for row in api.get("/faults").json()["items"]] == ["*"]
        assert api.post("/faults/end").json() == {"ended": 1}

    def test_says_what_is_not_allowed(self) -> None:
        settings.MESSAGING = {**settings.MESSAGING, "allow_faults": False}
        options.cache_clear()
        refused = Api("operate").post("/faults", {"failure_rate": 0.1, "reason": "a game day"})
        assert "SIGNALBOX_ALLOW_FAULTS=1" in problem(refused, 409)["detail"]
