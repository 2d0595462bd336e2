from __future__ import annotations

import json
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from console import tokens
from console.models import ApiToken
from console.throttling import LIMIT
from messaging import clock
from messaging.models import AuditRecord, Message
from tests.api import Api, event, problem

pytestmark = pytest.mark.django_db

NOBODY = "019a0000-0000-7000-8000-00000000dead"  # fixed: it is part of the tests' names
WHY = {"reason": "test"}
ENDPOINTS: list[tuple[str, str, str, Any, int]] = [
    ("publish", "POST", "/messages", event(), 202),
    ("read", "GET", "/messages", None, 200),
    ("read", "GET", f"/messages/{NOBODY}", None, 404),
    ("read", "GET", "/dead-letters", None, 200),
    ("read", "GET", f"/dead-letters/{NOBODY}", None, 404),
    ("operate", "POST", f"/dead-letters/{NOBODY}/replay", WHY, 404),
    ("operate", "POST", f"/dead-letters/{NOBODY}/discard", WHY, 404),
    ("operate", "POST", f"/dead-letters/{NOBODY}/resubmit", WHY | {"data": {}}, 404),
    ("read", "GET", "/quarantine", None, 200),
    ("operate", "POST", f"/quarantine/{NOBODY}/retry", None, 404),
    ("operate", "POST", f"/quarantine/{NOBODY}/discard", WHY, 404),
    ("read", "GET", "/consumers", None, 200),
    ("read", "GET", "/consumers/nobody", None, 404),
    ("operate", "POST", "/consumers/nobody/pause", WHY, 404),
    ("operate", "POST", "/consumers/nobody/resume", None, 404),
    ("read", "GET", "/stats", None, 200),
    ("read", "GET", "/audit", None, 200),
]
each_endpoint = pytest.mark.parametrize(
    ("scope", "method", "path", "body", "status"), ENDPOINTS, ids=[f"{row[1]} {row[2][:24]}" for row in ENDPOINTS]
)


def call(api: Api, method: str, path: str, body: Any) -> Any:
    return api.get(path) if method == "GET" else api.post(path, body)


class TestScopes:
    @each_endpoint
    def test_lets_in_exactly_one_scope(self, scope: str, method: str, path: str, body: Any, status: int) -> None:
        for held in tokens.SCOPES:
            response = call(Api(held), method, path, body)
            assert response.status_code == (status if held == scope else 403), (held, response.content)
            if response.status_code >= 400:
                problem(response, response.status_code)

    @each_endpoint
    def test_lets_nobody_in_without_a_token(self, scope: str, method: str, path: str, body: Any, status: int) -> None:
        response = call(Api(), method, path, body)
        problem(response, 401)
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert not Message.objects.exists()

    def test_writes_a_denied_request_into_the_audit(self) -> None:
        problem(Api("read", name="reader").post("/messages", event()), 403)
        record = AuditRecord.objects.get()
        assert (record.actor, record.actor_kind, record.outcome) == ("reader", "token", "denied")
        assert record.target == "POST /api/v1/messages"


class TestToken:
    @pytest.mark.parametrize(
        "header",
        ["Bearer", "Bearer ", "Bearer x", "Bearer sb_", "Basic dGVzdA==", "Bearer sb_0123456789ab_" + "A" * 43, "\xff"],
    )
    def test_is_refused_when_it_is_none(self, header: str) -> None:
        api = Api()
        api.headers["Authorization"] = header
        problem(api.get("/stats"), 401)

    def test_is_refused_with_another_secret(self) -> None:
        api = Api("read")
        api.headers["Authorization"] = api.headers["Authorization"][:-1] + "!"
        problem(api.get("/stats"), 401)

    def test_ends_when_it_expires(self, virtual_clock: Any) -> None:
        _, text = tokens.create(name="ci", scopes=["read"], expires_at=clock.now() + timedelta(days=1))
        api = Api()
        api.headers["Authorization"] = f"Bearer {text}"
        assert api.get("/stats").status_code == 200
        virtual_clock(clock.now() + timedelta(days=1))
        problem(api.get("/stats"), 401)

    def test_ends_when_it_is_revoked(self) -> None:
        api = Api("read", name="ci")
        tokens.revoke("ci")
        problem(api.get("/stats"), 401)

    def test_notes_its_use_once_a_minute(self, virtual_clock: Any) -> None:
        start = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
        virtual_clock(start)
        api = Api("read")
        seen = []
        for seconds in (0, 30, 59, 61):
            virtual_clock(start + timedelta(seconds=seconds))
            api.get("/stats")
            seen.append(ApiToken.objects.get().last_used_at)
        assert seen == [start, start, start, start + timedelta(seconds=61)]

    def test_is_nowhere_in_the_database(self) -> None:
        secret = Api("read").headers["Authorization"].split("_", 2)[2]
        assert secret not in str(ApiToken.objects.values())

    def test_is_not_taken_from_the_query(self) -> None:
        text = Api("read").headers["Authorization"].removeprefix("Bearer ")
        problem(Api().get("/stats", token=text, access_token=text), 401)


class TestThrottle:
    def test_slows_an_address_that_guesses(self) -> None:
        valid, guessing = Api("read"), Api()
        guessing.headers["Authorization"] = "Bearer guess"
        answers = [guessing.get("/stats") for _ in range(LIMIT + 1)]
        assert [answer.status_code for answer in answers] == [401] * LIMIT + [429]
        problem(answers[-1], 429)
        assert 0 < int(answers[-1]["Retry-After"]) <= 60
        assert valid.get("/stats").status_code == 200


class TestSession:
    def signed_in(self, *permissions: str) -> Client:
        user = User.objects.create_user("ana")
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=True)
        client.force_login(user)
        return client

    def test_reads(self) -> None:
        assert self.signed_in("view_console").get("/api/v1/stats").status_code == 200

    def test_reads_nothing_without_the_permission(self) -> None:
        problem(self.signed_in().get("/api/v1/stats"), 403)

    @each_endpoint
    def test_changes_nothing(self, scope: str, method: str, path: str, body: Any, status: int) -> None:
        if method == "POST":
            client = self.signed_in("view_console", "operate", "reveal")
            problem(client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json"), 401)
            assert not AuditRecord.objects.exists()

    def test_reveals_nothing(self) -> None:
        client = self.signed_in("view_console", "reveal")
        message = Api("publish").post("/messages", event()).json()["id"]
        problem(client.get(f"/api/v1/messages/{message}?reveal=1&reason=curious"), 403)


def tokens_command(*words: str) -> str:
    out = StringIO()
    call_command("tokens", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


class TestTokensCommand:
    def test_prints_a_token_that_works(self) -> None:
        text = tokens_command("create", "--name", "ci", "--scopes", "read,publish", "--days", "30").strip()
        api = Api()
        api.headers["Authorization"] = f"Bearer {text}"
        assert api.get("/stats").status_code == 200

    def test_lists_without_secrets(self) -> None:
        text = tokens_command("create", "--name", "ci", "--scopes", "read").strip()
        listed = tokens_command("list", "--json")
        assert json.loads(listed)[0]["state"] == "valid"
        _, _, secret = text.split("_", 2)  # which may have such a line in it
        assert secret not in listed + tokens_command("list")

    def test_revokes_by_name_and_frees_the_name(self) -> None:
        tokens_command("create", "--name", "ci", "--scopes", "read")
        tokens_command("revoke", "ci")
        assert json.loads(tokens_command("list", "--json"))[0]["state"] == "revoked"
        tokens_command("create", "--name", "ci", "--scopes", "read")

    @pytest.mark.parametrize(
        ("words", "blamed"),
        [
            (["create", "--name", "ci", "--scopes", "read,write"], "scopes"),
            (["create", "--name", "ci", "--scopes", ""], "scopes"),
            (["create", "--name", " ", "--scopes", "read"], "name"),
            (["create", "--name", "taken", "--scopes", "read"], "name"),
            (["create", "--name", "ci", "--scopes", "read", "--days", "0"], "days"),
            (["revoke", "nobody"], "nobody"),
        ],
    )
    def test_says_what_is_wrong(self, words: list[str], blamed: str) -> None:
        tokens_command("create", "--name", "taken", "--scopes", "read")
        with pytest.raises(CommandError, match=blamed):
            tokens_command(*words)
