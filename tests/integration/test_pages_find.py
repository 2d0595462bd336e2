"""The pages that find and repair messages, through Django's client: who may, what is shown, what an action did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from console.ui import context
from messaging.models import AuditRecord, DeadLetter, Message, QuarantinedMessage
from tests import rows

pytestmark = pytest.mark.django_db

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'>\u202e"
GROUP = "7c1e90b2a4d3f001"
ORDER: dict[str, Any] = {
    "order_id": "018f0000-0000-7000-8000-000000000001", "customer_email": "fay@example.com", "language": "en",
    "card_token": "tok_visa", "items": [{"sku": "TEA-GRN-100", "quantity": 3, "unit_price": "18.80"}],
    "total": "56.40", "currency": "CHF",
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_shell() -> Iterator[None]:
    context.forget()
    yield
    context.forget()


def signed_in(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer() -> Client:
    return signed_in("vera", "view_console")


@pytest.fixture
def operator() -> Client:
    return signed_in("ana", "view_console", "operate")


def failed_order(**given: Any) -> DeadLetter:
    """An order that billing could not charge, as the bus leaves it."""
    one = rows.message(body={**ORDER, **given}, type="ecommerce.OrderPlaced", version=2, key="order 7")
    rows.consumer(rows.CHARGE)
    rows.attempt(one, rows.CHARGE, "dead_lettered")
    return rows.dead_letter(one, rows.CHARGE)


def row_ids(response: Any) -> list[str]:
    return re.findall(r'data-row="([^"]+)"', response.content.decode())


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
        one = rows.message(correlation_id="basket-7")
        for text in (str(one.id), "basket-7"):
            assert viewer.get(reverse("messages"), {"q": text})["Location"] == reverse("message", args=[one.id])

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


class TestReplay:
    def send(self, client: Client, ids: list[UUID], action: str = "replay", **given: str) -> Any:
        data = {"ids": [str(id) for id in ids], "action": action, "reason": "fixed in 2.1", "fingerprint": GROUP}
        return client.post(reverse("dead-letters-act"), {**data, **given}, follow=True)

    def test_confirms_with_counts_and_reasons_before_anything_changes(self, operator: Client) -> None:
        open_one, gone = failed_order(), failed_order()
        DeadLetter.objects.filter(id=gone.id).update(state="resolved", resolution="replayed", resolved_by="ben")
        data = {"ids": [str(open_one.id), str(gone.id)], "action": "replay", "fingerprint": GROUP}
        page = operator.post(reverse("dead-letters-confirm"), data).content.decode()
        assert "Replay 1 dead letter" in page
        assert "1 resolved by ben" in page
        assert DeadLetter.objects.get(id=open_one.id).state == "open"

    def test_takes_a_whole_group_up_to_the_cap(self, operator: Client) -> None:
        made = [failed_order() for _ in range(3)]
        data = {"scope": "group", "fingerprint": GROUP, "action": "discard"}
        page = operator.post(reverse("dead-letters-confirm"), data).content.decode()
        assert "Discard 3 dead letters" in page
        assert all(str(one.id) in page for one in made)

    def test_says_sent_and_what_became_of_it(self, operator: Client) -> None:
        one, other = failed_order(), failed_order()
        page = self.send(operator, [one.id, other.id]).content.decode()
        assert "2 sent</b>, 0 handled, 0 failed again, 2 waiting" in page
        DeadLetter.objects.filter(id=one.id).update(state="resolved", resolution="replayed")
        DeadLetter.objects.filter(id=other.id).update(state="resolved", resolution="failed_again")
        address = re.search(r'hx-get="([^"]+sent=[^"]+)"', page)
        assert address
        later = operator.get(address[1], headers={"HX-Request": "true", "HX-Target": "progress"}).content.decode()
        assert "2 sent</b>, 1 handled, 1 failed again, 0 waiting" in later

    def test_acts_once_when_the_form_is_sent_twice(self, operator: Client) -> None:
        one = failed_order()
        for _ in range(2):
            self.send(operator, [one.id], request_id="form-1")
        assert AuditRecord.objects.filter(action="dead_letter.replay", outcome="done").count() == 1

    def test_leaves_alone_what_someone_else_resolved(self, operator: Client) -> None:
        one = failed_order()
        DeadLetter.objects.filter(id=one.id).update(state="discarded", resolution="discarded", resolved_by="ben")
        page = self.send(operator, [one.id]).content.decode()
        assert "1 left as they were" in page
        assert "by ben" in page

    def test_needs_a_reason(self, operator: Client) -> None:
        one = failed_order()
        for action in ("replay", "discard"):
            page = self.send(operator, [one.id], action=action, reason=" ").content.decode()
            assert "reason" in page
        assert DeadLetter.objects.get(id=one.id).state == "open"

    def test_discards_with_a_reason(self, operator: Client) -> None:
        one = failed_order()
        self.send(operator, [one.id], action="discard")
        assert DeadLetter.objects.get(id=one.id).state == "discarded"
        assert AuditRecord.objects.get(action="dead_letter.discard").reason == "fixed in 2.1"

    def test_survives_nonsense_ids_and_foreign_addresses(self, operator: Client) -> None:
        data = {"ids": ["x", EVIL, "\x00"], "next": "https://evil.example/", "reason": "r", "action": "replay"}
        response = operator.post(reverse("dead-letters-act"), data)
        assert response.status_code == 302
        assert response["Location"] == reverse("dead-letters")

    def test_reads_the_rows_on_screen_again_whatever_became_of_them(self, operator: Client) -> None:
        one, other = failed_order(), failed_order()
        DeadLetter.objects.filter(id=one.id).update(state="resolved", resolution="replayed", resolved_by="ben")
        address = f"{reverse('dead-letter-group', args=[GROUP])}?rows={one.id},{other.id},x,"
        response = operator.get(address, headers={"HX-Request": "true", "HX-Target": "rows"})
        assert sorted(row_ids(response)) == sorted([str(one.id), str(other.id)])
        assert "Resolved by replay" in response.content.decode()

    def test_keeps_the_page_of_a_repaired_group(self, operator: Client) -> None:
        one = failed_order()
        self.send(operator, [one.id], action="discard")
        page = operator.get(reverse("dead-letter-group", args=[GROUP])).content.decode()
        assert "This group is repaired" in page


class TestResubmit:
    def post(self, client: Client, dead: DeadLetter, body: Any, **given: str) -> Any:
        text = body if isinstance(body, str) else json.dumps(body, indent=2)
        data = {"body": text, "do": "send", "reason": "currency corrected", "request_id": "form-1"}
        return client.post(reverse("resubmit", args=[dead.id]), {**data, **given})

    def test_sends_a_copy_with_the_masked_values_of_the_original(self, operator: Client) -> None:
        dead = failed_order()
        page = operator.get(reverse("resubmit", args=[dead.id])).content.decode()
        assert "fay@example.com" not in page
        body = {**ORDER, "customer_email": {"__masked__": "e-mail, 15 characters"}, "currency": "EUR"}
        response = self.post(operator, dead, body, header_name="x-ticket", header_value="OPS-1")
        copy = Message.objects.get(causation_id=str(dead.message_id))
        assert response["Location"] == reverse("message", args=[copy.id])
        assert json.loads(bytes(copy.body)) == {**ORDER, "currency": "EUR"}
        assert copy.headers == {"x-ticket": "OPS-1"}
        assert DeadLetter.objects.get(id=dead.id).state == "resubmitting"

    def test_checks_while_typing_and_names_the_line(self, operator: Client) -> None:
        dead = failed_order()
        body = json.dumps({**ORDER, "currency": "euro"}, indent=2)
        response = operator.post(
            reverse("resubmit", args=[dead.id]), {"body": body}, headers={"HX-Request": "true", "HX-Target": "check"}
        )
        page = response.content.decode()
        line = body.split("\n").index('  "currency": "euro"') + 1
        assert f"Line {line}" in page
        assert "1 schema error" in page
        assert "disabled" in page
        assert Message.objects.count() == 1

    @pytest.mark.parametrize(
        "body", ["", "{", "[]", "null", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 5000, EVIL, "\ufeff{}"]
    )
    def test_refuses_what_is_no_such_message_and_keeps_the_text(self, body: str, operator: Client) -> None:
        response = self.post(operator, failed_order(), body)
        assert response.status_code == 422
        assert Message.objects.count() == 1

    def test_needs_a_reason(self, operator: Client) -> None:
        response = self.post(operator, failed_order(), {**ORDER, "currency": "EUR"}, reason="")
        assert response.status_code == 422
        assert "reason" in response.content.decode()

    def test_is_refused_when_someone_else_was_faster_and_says_who(self, operator: Client) -> None:
        dead = failed_order()
        DeadLetter.objects.filter(id=dead.id).update(state="discarded", resolution="discarded", resolved_by="ben")
        response = self.post(operator, dead, {**ORDER, "currency": "EUR"})
        assert response.status_code == 422
        assert "by ben" in response.content.decode()
        assert Message.objects.count() == 1

    def test_sends_once_when_the_form_is_sent_twice(self, operator: Client) -> None:
        dead = failed_order()
        first, second = (self.post(operator, dead, {**ORDER, "currency": "EUR"}) for _ in range(2))
        assert first["Location"] == second["Location"]
        assert Message.objects.count() == 2

    def test_warns_of_consumers_that_handled_it_already(self, operator: Client) -> None:
        dead = failed_order()
        rows.attempt(Message.objects.get(id=dead.message_id), rows.RESERVE)
        page = operator.get(reverse("resubmit", args=[dead.id])).content.decode()
        assert "1 other consumer already handled this message" in page
        assert rows.RESERVE in page

    def test_shows_the_difference_line_by_line(self, operator: Client) -> None:
        dead = failed_order(customer_email="no")
        original = json.loads(bytes(Message.objects.get(id=dead.message_id).body))
        changed = {**original, "currency": "EUR", "customer_email": {"__masked__": "e-mail, 2 characters"}}
        page = self.post(operator, dead, changed, do="").content.decode()
        assert '<del>CHF</del>' in page
        assert '<ins>EUR</ins>' in page

    def test_formats_without_changing_a_digit(self, operator: Client) -> None:
        page = self.post(operator, failed_order(), '{"a":90071992547409931,"b":1.10}', do="format").content.decode()
        assert "&quot;a&quot;: 90071992547409931,\n" in page
        assert "&quot;b&quot;: 1.10\n" in page


class TestQuarantine:
    def test_shows_received_bytes_as_hexadecimal_and_text(self, viewer: Client) -> None:
        item = rows.quarantined(b"\xff\x00<script>alert(1)</script>")
        page = viewer.get(reverse("quarantined", args=[item.id])).content.decode()
        assert "ff 00 3c 73 63" in page
        assert "<script>alert" not in page

    def test_lists_by_kind_and_state(self, viewer: Client) -> None:
        parked, _ = rows.quarantined(kind="parked"), rows.quarantined(state="discarded")
        assert row_ids(viewer.get(f"{reverse('quarantine')}?kind=parked")) == [str(parked.id)]
        assert len(row_ids(viewer.get(reverse("quarantine")))) == 1
        assert viewer.get(f"{reverse('quarantine')}?kind=%00&state={EVIL}").status_code == 200

    def test_discards_with_a_reason_only(self, operator: Client) -> None:
        item = rows.quarantined()
        data = {"ids": str(item.id), "action": "discard"}
        operator.post(reverse("quarantine-act"), {**data, "reason": ""})
        assert QuarantinedMessage.objects.get(id=item.id).state == "open"
        operator.post(reverse("quarantine-act"), {**data, "reason": "test data"})
        assert QuarantinedMessage.objects.get(id=item.id).state == "discarded"

    def test_sends_a_parked_message_in_again(self, operator: Client) -> None:
        raw = json.dumps({"type": "ecommerce.OrderPlaced", "version": 2, "data": ORDER, "id": "ext-1"}).encode()
        item = rows.quarantined(
            raw, kind="parked", content_type="application/json", type="ecommerce.OrderPlaced", version=2,
            external_id="ext-1",
        )  # fmt: skip
        page = operator.post(reverse("quarantine-act"), {"ids": str(item.id), "action": "retry"}, follow=True)
        assert "1 accepted and published" in page.content.decode()
        accepted = QuarantinedMessage.objects.get(id=item.id)
        assert accepted.message_id
        assert Message.objects.get(id=accepted.message_id).type == "ecommerce.OrderPlaced"


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
