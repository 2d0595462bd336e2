"""The admin: dead letters are repaired through the guarded operations, everything else is read only."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from console import roles
from messaging.models import Attempt, AuditRecord, ConsumerState, DeadLetter, Message, OutboxEntry, Subscription, Worker
from tests import rows

pytestmark = pytest.mark.django_db

LIST = "/admin/messaging/deadletter/"
MODELS = ("deadletter", "message", "attempt", "consumerstate", "worker", "auditrecord", "quarantinedmessage")


@pytest.fixture(autouse=True)
def only_the_tests_own_consumers(db: None) -> None:
    """Those of the installed examples were registered by the migration."""
    ConsumerState.objects.all().delete()
    Subscription.objects.all().delete()


def signed_in(role: roles.Role, name: str) -> Client:
    user = User.objects.create_user(name)
    roles.set_role(user, role)
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def ana() -> Client:
    return signed_in("operator", "ana")


@pytest.fixture
def vera() -> Client:
    """Vera may only look, here too."""
    return signed_in("viewer", "vera")


def act(client: Client, action: str, *letters: DeadLetter, **given: str) -> Any:
    return client.post(
        LIST, {"action": action, "_selected_action": [str(letter.pk) for letter in letters], **given}, follow=True
    )


class TestDeadLetterActions:
    def test_ask_for_a_reason_before_anything_happens(self, ana: Client) -> None:
        letter = rows.dead_letter(rows.message())
        page = act(ana, "replay", letter).content.decode()
        assert "Replay 1 dead letter" in page
        assert 'name="reason"' in page
        letter.refresh_from_db()
        assert letter.state == "open"

    def test_replay_the_selection_as_the_same_audited_operation(self, ana: Client) -> None:
        rows.consumer(rows.CHARGE)
        letters = [rows.dead_letter(rows.message()) for _ in range(2)]
        page = act(ana, "replay", *letters, confirmed="yes", reason="Fixed", request_id=str(uuid4())).content.decode()
        assert "2 sent again" in page
        assert {letter.state for letter in DeadLetter.objects.all()} == {"replaying"}
        assert OutboxEntry.objects.filter(consumer=rows.CHARGE, run=2).count() == 2
        done = AuditRecord.objects.filter(action="dead_letter.replay", outcome="done", actor="ana", reason="Fixed")
        assert done.count() == 2

    def test_discard_and_say_what_was_left_alone(self, ana: Client) -> None:
        mine = rows.dead_letter(rows.message())
        gone = rows.dead_letter(rows.message(), state="resolved", resolved_by="ben", resolution="replayed")
        page = act(ana, "discard", mine, gone, confirmed="yes", reason="Test data").content.decode()
        assert "1 discarded" in page
        assert "1 left as they are" in page
        mine.refresh_from_db()
        assert (mine.state, mine.resolved_by) == ("discarded", "ana")

    def test_refuse_an_empty_reason(self, ana: Client) -> None:
        letter = rows.dead_letter(rows.message())
        answer = act(ana, "discard", letter, confirmed="yes", reason=" ")
        assert answer.status_code == 422
        assert "Nothing was changed" in answer.content.decode()
        letter.refresh_from_db()
        assert letter.state == "open"

    def test_are_neither_offered_nor_carried_out_for_a_viewer(self, vera: Client) -> None:
        letter = rows.dead_letter(rows.message())
        assert "Replay…" not in vera.get(LIST).content.decode()
        assert act(vera, "replay", letter, confirmed="yes", reason="please").status_code == 403
        letter.refresh_from_db()
        assert letter.state == "open"
        assert AuditRecord.objects.get(outcome="denied").actor == "vera"


class TestDeadLetterPages:
    def test_show_traceback_and_body_as_text(self, ana: Client) -> None:
        letter = rows.dead_letter(rows.message(body=b'{"note": "<script>alert(1)</script>"}'))
        page = ana.get(f"{LIST}{letter.pk}/change/").content.decode()
        assert "Traceback (most recent call last)" in page
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert(1)" not in page

    def test_find_an_id_a_message_or_a_flow(self, ana: Client) -> None:
        letter = rows.dead_letter(rows.message(correlation_id="order-1"))
        other = rows.dead_letter(rows.message(correlation_id="order-2"))
        for text in (str(letter.pk), str(letter.message_id), "order-1"):
            page = ana.get(LIST, {"q": text}).content.decode()
            assert str(letter.pk) in page
            assert str(other.pk) not in page

    @pytest.mark.parametrize("text", ["a\x00b", "'", "nothing like it", "x" * 5000])
    def test_survive_any_search(self, ana: Client, text: str) -> None:
        rows.dead_letter(rows.message())
        assert ana.get(LIST, {"q": text}).status_code == 200

    @pytest.mark.parametrize("query", [{"consumer": rows.CHARGE}, {"error_type": "UnknownCurrency"}, {"state": "open"}])
    def test_narrow_by_filter(self, ana: Client, query: dict[str, str]) -> None:
        mine = rows.dead_letter(rows.message())
        rows.consumer(rows.CHARGE)
        other = rows.dead_letter(rows.message(), "other", error_type="Other", state="discarded")
        page = ana.get(LIST, query).content.decode()
        assert str(mine.pk) in page
        assert str(other.pk) not in page


class TestReadOnlyPages:
    @pytest.fixture
    def one_of_each(self) -> None:
        message = rows.message(body=b"\xff\x00 no JSON")
        rows.dead_letter(message)
        rows.attempt(message, outcome="dead_lettered")
        rows.consumer(rows.CHARGE)
        rows.quarantined()
        AuditRecord.objects.create(
            at=message.published_at, actor="ana", actor_kind="user", action="x", outcome="done", target="t"
        )
        Worker.objects.create(
            role="relay", name="r", host="h", pid=1, started_at=message.published_at, heartbeat_at=message.published_at
        )

    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.usefixtures("one_of_each")
    def test_list_and_show_but_never_add_change_or_delete(self, vera: Client, model: str) -> None:
        from django.apps import apps

        pk = apps.get_model("messaging", model)._default_manager.values_list("pk", flat=True)[0]
        root = f"/admin/messaging/{model}/"
        assert vera.get(root).status_code == 200
        assert vera.get(f"{root}{pk}/change/").status_code == 200
        assert vera.get(f"{root}add/").status_code == 403
        assert vera.get(f"{root}{pk}/delete/").status_code == 403
        assert vera.post(f"{root}{pk}/change/", {"name": "x"}).status_code == 403
        vera.post(root, {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"})
        assert apps.get_model("messaging", model)._default_manager.filter(pk=pk).exists()

    @pytest.mark.parametrize("model", [Message, Attempt])
    @pytest.mark.usefixtures("one_of_each")
    def test_stay_closed_to_an_administrator_too(self, model: type[Message] | type[Attempt]) -> None:
        root = signed_in("admin", "root")
        pk = model.objects.values_list("pk", flat=True)[0]
        assert root.get(f"/admin/messaging/{model._meta.model_name}/{pk}/delete/").status_code == 403

    def test_are_closed_to_who_may_not_see_the_console(self) -> None:
        user = User.objects.create_user("mallory", is_staff=True)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        assert client.get(LIST).status_code == 403

    def test_search_consumers_by_name(self, ana: Client) -> None:
        rows.consumer("a.b")
        assert ConsumerState.objects.count() == 1
        assert "a.b" in ana.get("/admin/messaging/consumerstate/", {"q": "a.b"}).content.decode()


class TestAccounts:
    def test_are_for_administrators_only(self, ana: Client) -> None:
        assert ana.get("/admin/auth/user/").status_code == 403
        root = signed_in("admin", "root")
        assert root.get("/admin/auth/user/").status_code == 200
        assert root.get("/admin/auth/user/add/").status_code == 200
        assert root.get("/admin/auth/group/").status_code == 200
        assert root.get("/admin/").status_code == 200
