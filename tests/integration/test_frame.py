"""What holds on every page: signing in, permissions, the content security policy, the correlation id."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from messaging.queries import audit

pytestmark = pytest.mark.django_db

PAGES = ("/", "/messages", "/dead-letters", "/quarantine", "/consumers", "/audit", "/shell")


def sign_in(client: Client, *permissions: str) -> User:
    user = User.objects.create_user("ana", password="a long pass phrase")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


class TestAccess:
    @pytest.mark.parametrize("page", PAGES)
    def test_sends_strangers_to_the_login(self, client: Client, page: str) -> None:
        response = client.get(page)
        assert response.status_code == 302
        assert response["Location"].startswith("/login?next=")

    @pytest.mark.parametrize("page", PAGES)
    def test_shows_pages_to_viewers(self, client: Client, page: str) -> None:
        sign_in(client, "view_console")
        assert client.get(page).status_code == 200

    def test_refuses_people_without_the_permission_and_records_it(self, client: Client) -> None:
        sign_in(client)
        response = client.get("/messages")
        assert response.status_code == 403
        assert "You may not do this" in response.content.decode()
        record = audit.list_audit().rows[0]
        assert (record.actor, record.target, record.outcome) == ("ana", "/messages", "denied")

    def test_tells_htmx_to_leave_for_the_login(self, client: Client) -> None:
        response = client.get("/shell", headers={"HX-Request": "true"})
        assert response.status_code == 401
        assert response["HX-Redirect"] == "/login"

    def test_signs_out_by_post_only(self, client: Client) -> None:
        sign_in(client, "view_console")
        assert client.get("/logout").status_code == 405
        assert client.post("/logout").status_code == 302
        assert client.get("/").status_code == 302


class TestContentSecurityPolicy:
    def test_allows_no_inline_code_and_no_other_host(self, client: Client) -> None:
        sign_in(client, "view_console")
        policy = client.get("/")["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy

    @pytest.mark.parametrize("page", PAGES)
    def test_finds_nothing_inline_on_any_page(self, client: Client, page: str) -> None:
        sign_in(client, "view_console", "operate", "reveal")
        html = client.get(page).content.decode()
        assert not re.search(r"\sstyle=|\son[a-z]+=\"|hx-on|<script>", html)


class TestCorrelation:
    def test_keeps_the_callers_id(self, client: Client) -> None:
        assert client.get("/login", headers={"X-Correlation-ID": "order-88207"})["X-Correlation-ID"] == "order-88207"

    @pytest.mark.parametrize("hostile", ["a\x00b", "<é>" * 200, "x" * 500])
    def test_makes_any_id_printable_and_short(self, client: Client, hostile: str) -> None:
        kept = client.get("/login", headers={"X-Correlation-ID": hostile})["X-Correlation-ID"]
        assert re.fullmatch(r"[\x21-\x7e]{1,200}", kept)

    def test_makes_one_when_there_is_none(self, client: Client) -> None:
        first, second = (client.get("/login")["X-Correlation-ID"] for _ in range(2))
        assert first != second
