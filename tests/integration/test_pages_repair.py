"""The pages that repair: replay, discard, resubmit, quarantine; what an action did, and that it acts once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import reverse

from console.ui import context
from messaging.models import AuditRecord, DeadLetter, Message, QuarantinedMessage
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
        assert "<del>CHF</del>" in page
        assert "<ins>EUR</ins>" in page

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
