"""The pages that find and repair messages, through Django's client: who may, what is shown, what an action did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from console.ui import context
from messaging import clock
from messaging.models import AuditRecord, DeadLetter
from messaging.queries import messages
from tests import rows
from tests.pages import EVIL, GROUP, ORDER, failed_order, row_ids, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_shell() -> Iterator[None]:
    context.forget()
    yield
    context.forget()


@pytest.fixture
def viewer() -> Client:
    return signed_in("vera", "view_console")


@pytest.fixture
def operator() -> Client:
    return signed_in("ana", "view_console", "operate")


class TestPermission:
    def pages(self) -> list[str]:
        dead, item = failed_order(), rows.quarantined()
        return [
            reverse("messages"), reverse("message", args=[dead.message_id]), reverse("dead-letters"),
            reverse("dead-letter-group", args=[GROUP]), reverse("dead-letter", args=[dead.id]),
            reverse("quarantine"), reverse("quarantined", args=[item.id]),
        ]  # fmt: skip

    def actions(self) -> list[str]:
        return [reverse("dead-letters-confirm"), reverse("dead-letters-act"), reverse("quarantine-act")]

    def test_sends_strangers_to_the_login(self) -> None:
        for address in self.pages():
            response = Client().get(address)
            assert response.status_code == 302
            assert response["Location"].startswith(reverse("login"))

    def test_refuses_accounts_without_the_role(self) -> None:
        nobody = signed_in("nora")
        for address in self.pages():
            assert nobody.get(address).status_code == 403

    def test_lets_viewers_look_at_every_page_and_act_on_none(self, viewer: Client) -> None:
        for address in self.pages():
            response = viewer.get(address)
            assert response.status_code == 200
            assert "needs-live" not in response.content.decode()  # no button that acts
        for address in self.actions():
            assert viewer.post(address, {"ids": str(uuid4())}).status_code == 403
        resubmit = reverse("resubmit", args=[DeadLetter.objects.get().id])
        assert viewer.get(resubmit).status_code == viewer.post(resubmit).status_code == 403

    def test_lets_operators_everywhere(self, operator: Client) -> None:
        for address in self.pages():
            assert operator.get(address).status_code == 200

    def test_changes_nothing_by_get(self, operator: Client) -> None:
        for address in self.actions():
            assert operator.get(address).status_code == 405

    def test_demands_the_form_token(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.create_superuser("root"))
        assert strict.post(reverse("dead-letters-act")).status_code == 403

    @pytest.mark.parametrize("name", ["message", "dead-letter", "quarantined"])
    def test_says_404_for_unknown_ids(self, name: str, operator: Client) -> None:
        assert operator.get(reverse(name, args=[uuid4()])).status_code == 404
        assert operator.get(reverse("dead-letter-group", args=["unknown"])).status_code == 404
        assert operator.get(reverse("resubmit", args=[uuid4()])).status_code == 404


class TestMessages:
    def test_pages_show_every_row_exactly_once(self, viewer: Client) -> None:
        expected = {str(rows.message(age=number).id) for number in range(120)}
        address, seen = reverse("messages") + "?range=all", []
        while address:
            response = viewer.get(address)
            seen += row_ids(response)
            older = re.search(r'rel="next" href="([^"]+)"', response.content.decode())
            address = reverse("messages") + older[1].replace("&amp;", "&") if older else ""
        assert len(seen) == 120
        assert set(seen) == expected

    def test_looks_for_a_rare_source_a_bounded_way_at_a_time(
        self, viewer: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(messages, "LOOKED_AT", 10)
        expected = {str(rows.message(age=age, source="warehouse").id) for age in (5.5, 31.5, 32.5)}
        for number in range(60):
            rows.message(age=number)
        address, seen, steps = reverse("messages") + "?source=warehouse&range=all", [], 0
        while address:
            response = viewer.get(address)
            seen += row_ids(response)
            older = re.search(r'rel="next" href="([^"]+)"', response.content.decode())
            address = reverse("messages") + older[1].replace("&amp;", "&") if older else ""
            steps += 1
        assert sorted(seen) == sorted(expected)
        assert steps == 7  # 63 messages, ten at a time
        nothing = viewer.get(reverse("messages") + "?source=nowhere&range=all").content.decode()
        assert "Look further back" in nothing
        assert "none matches" not in nothing

    def test_narrows_by_chips_of_the_url(self, viewer: Client) -> None:
        wanted = failed_order().message_id
        rows.attempt(rows.message(source="warehouse"))
        for query in ("status=dead", "type=OrderPlaced&source=checkout", "key=order+7", f"consumer={rows.CHARGE}"):
            assert row_ids(viewer.get(f"{reverse('messages')}?{query}")) == [str(wanted)]

    def test_turns_typed_words_into_chips(self, viewer: Client) -> None:
        response = viewer.get(reverse("messages"), {"q": 'status:dead key:"order 7"', "range": "24h"})
        assert response.status_code == 302
        assert response["Location"] == f"{reverse('messages')}?range=24h&status=dead&key=order+7"

    def test_jumps_to_a_bare_id(self, viewer: Client) -> None:
        one, identifier = rows.message(correlation_id="basket-7"), rows.id_of(clock.now())
        first = rows.message(id=identifier, correlation_id=str(identifier))
        for message in (one, first):
            found = viewer.get(reverse("messages"), {"q": str(message.id)})["Location"]
            assert found == reverse("message", args=[message.id])
        assert viewer.get(reverse("messages"), {"q": "basket-7"})["Location"] == reverse("flow", args=["basket-7"])

    def test_says_what_it_did_not_understand(self, viewer: Client) -> None:
        for query, words in (
            ("status=broken", "status:broken is unknown"), ("from=yesterday", "from is not a time"),
            ("range=7y", "range 7y is unknown"), ("from=0001-01-01&to=9999-12-31", "outside the years"),
            ("from=2026-02-02&to=2026-01-01", "from must lie before to"),
        ):  # fmt: skip
            response = viewer.get(f"{reverse('messages')}?{query}")
            assert response.status_code == 200
            assert words in response.content.decode()

    @pytest.mark.parametrize("name", ["q", "type", "key", "correlation", "consumer", "source", "after", "message"])
    @pytest.mark.parametrize("value", ["\x00", "x" * 9000, "' OR 1=1 --", "%", EVIL])
    def test_survives_any_text_in_the_url(self, name: str, value: str, viewer: Client) -> None:
        response = viewer.get(reverse("messages"), {name: value}, follow=True)
        assert response.status_code == 200
        assert "<script>alert" not in response.content.decode()

    def test_tells_three_kinds_of_nothing_apart(self, viewer: Client) -> None:
        page = reverse("messages")
        assert "No messages yet" in viewer.get(page).content.decode()
        rows.message(age=7200)
        assert "Nothing in this window" in viewer.get(page).content.decode()
        assert "Nothing matches" in viewer.get(f"{page}?key=none").content.decode()

    def test_offers_newer_rows_without_moving_the_list(self, viewer: Client) -> None:
        top = rows.message(age=9)
        rows.message(age=1)
        pill = viewer.get(f"{reverse('messages')}?than={top.id}").content.decode()
        assert "+1 new" in pill
        assert "<table" not in pill
        again = viewer.get(f"{reverse('messages')}?upto={top.id}")
        assert row_ids(again) == [str(top.id)]

    def test_shows_the_chosen_message_beside_the_list(self, viewer: Client) -> None:
        one = rows.message(body=ORDER)
        page = viewer.get(f"{reverse('messages')}?message={one.id}").content.decode()
        assert f'data-message="{one.id}"' in page
        partial = viewer.get(reverse("message", args=[one.id]), headers={"HX-Request": "true", "HX-Target": "message"})
        assert partial.content.decode().lstrip().startswith("<aside")

    def test_stays_within_its_queries_however_many_rows(self, viewer: Client) -> None:
        for number in range(60):
            one = rows.message(age=number, correlation_id="one-flow")
            rows.delivery(one)
            rows.dead_letter(one)
        viewer.get(reverse("messages"))  # the shell's reading is shared by the pages of a second
        session_and_permissions = 4
        message, group = reverse("message", args=[one.id]), reverse("dead-letter-group", args=[GROUP])
        for address in (reverse("messages"), message, group):
            with CaptureQueriesContext(connection) as taken:
                viewer.get(address)
            assert len(taken) <= 12 + session_and_permissions, [query["sql"][:80] for query in taken.captured_queries]


class TestMessage:
    def test_shows_hostile_content_as_text(self, operator: Client) -> None:
        one = rows.message(
            type=EVIL, key=EVIL, source=EVIL, correlation_id=EVIL, headers={EVIL: EVIL},
            body=json.dumps({EVIL: [EVIL, 10**40, "x" * 9000]}).encode(),
        )  # fmt: skip
        error = dict.fromkeys(("error_type", "error_message", "traceback", "location"), EVIL)
        error["fingerprint"] = "e" * 16
        rows.attempt(one, EVIL, "dead_lettered", **error)
        dead = rows.dead_letter(one, EVIL, **error)
        pages = [
            reverse("messages"), reverse("message", args=[one.id]), reverse("message", args=[one.id]) + "?tab=headers",
            reverse("dead-letters"), reverse("dead-letter-group", args=["e" * 16]),
            reverse("dead-letter", args=[dead.id]), reverse("resubmit", args=[dead.id]),
        ]  # fmt: skip
        for address in pages:
            page = operator.get(address).content.decode()
            assert "alert(1)" in page
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            if address != reverse("resubmit", args=[dead.id]):  # the editor keeps the text as it is
                assert "\u202e" not in page

    def test_shows_bytes_that_are_no_text(self, viewer: Client) -> None:
        one = rows.message(body=bytes(range(256)), content_type="application/octet-stream")
        assert viewer.get(reverse("message", args=[one.id])).status_code == 200

    def test_keeps_every_digit_of_a_number(self, viewer: Client) -> None:
        one = rows.message(body=b'{"id": 90071992547409931, "total": 1.10, "huge": 1e400}')
        page = viewer.get(reverse("message", args=[one.id])).content.decode()
        assert all(number in page for number in ("90071992547409931", "1.10", "1e400"))

    def test_says_until_when_a_message_is_wanted(self, viewer: Client) -> None:
        one = rows.message(expires_at=datetime(2027, 3, 1, 6, 30, tzinfo=UTC))
        page = viewer.get(reverse("message", args=[one.id])).content.decode()
        assert re.search(r"expires</span>.*2027-03-01 06:30:00", page)

    def test_masks_until_revealed_with_a_reason_that_is_audited(self, operator: Client) -> None:
        one = failed_order().message_id
        page = reverse("message", args=[one])
        assert "fay@example.com" not in operator.get(page).content.decode()
        operator.post(page, {"reason": "ticket 7"})
        assert AuditRecord.objects.get(outcome="denied").action == "reveal"
        ben = signed_in("ben", "view_console", "reveal")
        assert "fay@example.com" not in ben.post(page, {"reason": " "}, follow=True).content.decode()
        assert "fay@example.com" in ben.post(page, {"reason": "ticket 7"}).content.decode()
        assert AuditRecord.objects.get(outcome="done").reason == "ticket 7"

    def test_hides_credentials_among_the_headers(self, viewer: Client) -> None:
        one = rows.message(headers={"Authorization": "Bearer s3cret", "x-app": "8.4"})
        page = viewer.get(reverse("message", args=[one.id]) + "?tab=headers").content.decode()
        assert "s3cret" not in page
        assert "8.4" in page


class TestEquivalentCall:
    def test_of_the_list_returns_the_same_rows(self, viewer: Client) -> None:
        failed_order()
        rows.message()
        page = viewer.get(f"{reverse('messages')}?status=dead&source=checkout")
        call = re.search(r"/api/v1/messages\?[^&]*(?:&amp;[^&<]*)*?(?=&quot;)", page.content.decode())
        assert call
        answer = viewer.get(call[0].replace("&amp;", "&"))
        assert answer.status_code == 200
        assert [row["id"] for row in answer.json()["items"]] == row_ids(page)
