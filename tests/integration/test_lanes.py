"""Blocked keys, as an operator sees and releases them: by page, REST and command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.html import escape

from console import roles
from messaging import Context, PermanentError, Retry
from messaging.errors import OperationRefused
from messaging.models import AuditRecord, DeadLetter
from messaging.operations import release_key, replay_dead_letters
from messaging.queries.consumers import get_consumer
from messaging.queries.lanes import blocked_keys, overtaken
from messaging.queries.messages import get_message
from messaging.testing import run_until_idle
from tests.api import Api, problem
from tests.factories import ANA, ANNOUNCE, BEN, EVE, TrainArrived, arrive, dead, elsewhere, ledger, write

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "order 42/ü <b>"


@pytest.fixture
def line(station: Any) -> Any:
    """An ordered consumer at which trains named "bad ..." derail."""

    def handler(event: TrainArrived, context: Context) -> None:
        write(event.train)
        if event.train.startswith("bad") and context.run == 1:
            raise PermanentError("derailed")

    station.declare(handler, ordered=True, retry=Retry(immediate=0, delays=()))
    return station


def block(key: str = KEY) -> Any:
    """Block a key with two messages behind the bad one; return the bad one's id."""
    [bad, *_] = arrive("bad 1", "ICE 2", "ICE 3", key=key)
    run_until_idle()
    return bad


def signed_in(role: roles.Role, name: str) -> Client:
    user = User.objects.create_user(name)
    roles.set_role(user, role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


class TestBlockedKeys:
    def test_say_since_when_behind_what_and_how_many_wait(self, line: Any) -> None:
        bad = block()
        [found] = blocked_keys(ANNOUNCE)
        assert (found.key, found.id, found.message_id, found.waiting) == (KEY, dead(bad).id, bad, 2)
        assert found.error_message == "derailed"
        row = get_consumer(ANNOUNCE)
        assert row is not None
        assert (row.is_ordered, row.on_failure, row.blocked_keys) == (True, "block", 1)

    def test_are_one_for_each_key_by_its_earliest_dead_letter(self, line: Any) -> None:
        first = block()
        release_key(name=ANNOUNCE, key=KEY, actor=ANA, reason="go on")
        arrive("bad 4", "ICE 5", key=KEY)
        run_until_idle()
        DeadLetter.objects.update(blocks=True)
        block("other")
        earliest, other = blocked_keys(ANNOUNCE)
        assert (earliest.key, earliest.id) == (KEY, dead(first).id)
        assert other.key == "other"

    def test_come_in_pages(self, line: Any) -> None:
        for n in range(3):
            block(f"k{n}")
        first = blocked_keys(ANNOUNCE, limit=2)
        rest = blocked_keys(ANNOUNCE, limit=2, after=first[-1].id)
        assert [each.key for each in [*first, *rest]] == ["k0", "k1", "k2"]

    def test_are_told_by_the_messages_that_wait(self, line: Any) -> None:
        [bad, behind] = arrive("bad 1", "ICE 2", key=KEY)
        run_until_idle()
        found = get_message(behind)
        assert found is not None
        waits = found.deliveries[0].waits_for
        assert waits is not None
        assert (waits.message_id, waits.key, waits.dead_letter_id) == (bad, KEY, dead(bad).id)


class TestReleaseKey:
    def test_lets_the_key_go_on_and_keeps_the_dead_letter_open(self, line: Any) -> None:
        bad = block()
        assert release_key(name=ANNOUNCE, key=KEY, actor=ANA, reason="customer waits") == 1
        run_until_idle()
        assert ledger() == ["ICE 2", "ICE 3"]
        assert dead(bad).state == "open"
        record = AuditRecord.objects.get(action="consumer.release_key")
        assert (record.actor, record.outcome, record.reason) == ("ana", "done", "customer waits")
        assert (record.details["key"], record.details["dead_letters"]) == (KEY, [str(dead(bad).id)])

    def test_leaves_other_keys_blocked(self, line: Any) -> None:
        block()
        block("other")
        release_key(name=ANNOUNCE, key=KEY, actor=ANA, reason="go on")
        assert [each.key for each in blocked_keys(ANNOUNCE)] == ["other"]

    def test_repeated_with_its_request_id_answers_the_same(self, line: Any) -> None:
        block()
        answers = [
            release_key(name=ANNOUNCE, key=KEY, actor=ANA, reason="go on", request_id="r") for _ in range(2)
        ]  # fmt: skip
        assert answers == [1, 1]
        assert AuditRecord.objects.filter(action="consumer.release_key").count() == 1

    def test_by_two_operators_at_once_is_done_by_one_and_the_other_is_told(self, line: Any) -> None:
        block()

        def release(actor: Any) -> str:
            try:
                release_key(name=ANNOUNCE, key=KEY, actor=actor, reason="go on")
            except OperationRefused as refusal:
                return refusal.code
            return "done"

        both = [elsewhere(lambda actor=actor: release(actor)) for actor in (ANA, BEN)]
        assert sorted(each.result(60) for each in both) == ["conflict", "done"]

    def test_refuses_what_makes_no_sense_and_audits_it(self, line: Any) -> None:
        block()
        for given, code in [
            ({"name": "nobody"}, "not_found"),
            ({"key": "free"}, "conflict"),
            ({"key": "nul\x00"}, "conflict"),
            ({"reason": ""}, "invalid"),
            ({"actor": EVE}, "forbidden"),
        ]:
            with pytest.raises(OperationRefused) as refused:
                release_key(**({"name": ANNOUNCE, "key": KEY, "actor": ANA, "reason": "r"} | given))
            assert refused.value.code == code, given
        assert set(AuditRecord.objects.values_list("outcome", flat=True)) == {"refused", "denied"}
        assert len(blocked_keys(ANNOUNCE)) == 1

    def test_makes_a_later_replay_one_that_comes_behind(self, line: Any) -> None:
        bad = block()
        assert overtaken([dead(bad).id]) == 0
        release_key(name=ANNOUNCE, key=KEY, actor=ANA, reason="go on")
        run_until_idle()
        assert overtaken([dead(bad).id]) == 1
        page = signed_in("operator", "olga").post("/dead-letters/confirm", {"action": "replay", "ids": dead(bad).id})
        assert "comes behind" in page.content.decode()
        replay_dead_letters(ids=[dead(bad).id], actor=ANA, reason="late")
        run_until_idle()
        assert ledger() == ["ICE 2", "ICE 3", "bad 1"]


class TestRest:
    def test_lists_blocked_keys(self, line: Any) -> None:
        block()
        answer = Api("read").get(f"/consumers/{ANNOUNCE}/blocked-keys").json()
        assert [(each["key"], each["waiting"]) for each in answer["items"]] == [(KEY, 2)]
        assert answer["next"] is None

    def test_knows_no_keys_of_an_unknown_consumer(self, line: Any) -> None:
        problem(Api("read").get("/consumers/nobody/blocked-keys"), 404)

    def test_releases_a_key_once(self, line: Any) -> None:
        block()
        api, body = Api("operate"), {"key": KEY, "reason": "go on"}
        first, again = (api.post(f"/consumers/{ANNOUNCE}/release-key", body, Idempotency_Key="k") for _ in range(2))
        assert first.json() == again.json() == {"name": ANNOUNCE, "key": KEY, "released": 1}
        problem(api.post(f"/consumers/{ANNOUNCE}/release-key", body), 409)


class TestPage:
    def test_shows_blocked_keys_and_releases_one(self, line: Any) -> None:
        block()
        client = signed_in("operator", "olga")
        page = client.get(f"/consumers/{ANNOUNCE}").content.decode()
        assert escape(KEY) in page
        assert "derailed" in page
        form = client.get(f"/consumers/{ANNOUNCE}/release-key", {"key": KEY})
        assert escape(KEY) in form.content.decode()
        given = {"key": KEY, "reason": "customer waits", "request_id": "r"}
        assert client.post(f"/consumers/{ANNOUNCE}/release-key", given).status_code == 302
        assert blocked_keys(ANNOUNCE) == []

    def test_says_why_it_refused(self, line: Any) -> None:
        block()
        client = signed_in("operator", "olga")
        refused = client.post(f"/consumers/{ANNOUNCE}/release-key", {"key": KEY, "reason": " "})
        assert refused.status_code == 422
        gone = client.post(f"/consumers/{ANNOUNCE}/release-key", {"key": "free", "reason": "r"})
        assert (gone.status_code, "is not blocked" in gone.content.decode()) == (409, True)

    def test_lets_a_viewer_see_and_not_act(self, line: Any) -> None:
        block()
        client = signed_in("viewer", "vera")
        page = client.get(f"/consumers/{ANNOUNCE}").content.decode()
        assert (escape(KEY) in page, "Release…" in page) == (True, False)
        assert client.post(f"/consumers/{ANNOUNCE}/release-key", {"key": KEY, "reason": "r"}).status_code == 403
        assert len(blocked_keys(ANNOUNCE)) == 1


class TestCommand:
    def test_lists_and_releases(self, line: Any, capsys: pytest.CaptureFixture[str]) -> None:
        block()
        call_command("keys", "list", ANNOUNCE)
        assert f"{KEY}  since" in capsys.readouterr().out
        call_command("keys", "list", ANNOUNCE, "--json")
        assert json.loads(capsys.readouterr().out)[0]["waiting"] == 2
        call_command("keys", "release", ANNOUNCE, KEY, "--reason", "go on")
        assert "goes on" in capsys.readouterr().out
        call_command("keys", "list", ANNOUNCE)
        assert "No key is blocked." in capsys.readouterr().out

    def test_refuses_in_words(self, line: Any) -> None:
        with pytest.raises(CommandError, match="There is no consumer"):
            call_command("keys", "list", "nobody")
        with pytest.raises(CommandError, match="is not blocked"):
            call_command("keys", "release", ANNOUNCE, "free", "--reason", "r")
