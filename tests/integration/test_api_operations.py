from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from messaging import clock
from messaging.models import AuditRecord, ConsumerState, DeadLetter, Message, OutboxEntry, QuarantinedMessage
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from tests import rows
from tests.api import Api, order, problem

pytestmark = pytest.mark.django_db

WHY = {"reason": "the bank is back"}


@pytest.fixture
def letter() -> DeadLetter:
    """An order whose payment gave up."""
    synchronise()
    return rows.dead_letter(rows.message(body=order(), version=2), rows.CHARGE)


def audited(action: str) -> list[str]:
    return list(AuditRecord.objects.filter(action=action).values_list("outcome", flat=True))


class TestReplay:
    def test_runs_the_message_again_for_the_consumer_that_failed(self, letter: DeadLetter) -> None:
        response = Api("operate", name="robot").post(f"/dead-letters/{letter.id}/replay", WHY)
        assert (response.status_code, response.json()) == (202, {"id": str(letter.id), "status": "replaying"})
        entry = OutboxEntry.objects.get()
        assert (entry.message_id, entry.consumer, entry.run) == (letter.message_id, rows.CHARGE, 2)
        record = AuditRecord.objects.get()
        assert (record.actor, record.reason) == ("robot", WHY["reason"])

    def test_is_refused_while_one_is_on_its_way(self, letter: DeadLetter) -> None:
        api = Api("operate")
        api.post(f"/dead-letters/{letter.id}/replay", WHY)
        refused = problem(api.post(f"/dead-letters/{letter.id}/replay", WHY), 409)
        assert "already on its way" in refused["detail"]
        assert OutboxEntry.objects.count() == 1

    def test_gives_the_first_answer_again_for_the_same_key(self, letter: DeadLetter) -> None:
        api = Api("operate")
        first, again = (api.post(f"/dead-letters/{letter.id}/replay", WHY, Idempotency_Key="k") for _ in range(2))
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first
        assert OutboxEntry.objects.count() == 1

    def test_refuses_the_key_for_something_else(self, letter: DeadLetter) -> None:
        api = Api("operate")
        api.post(f"/dead-letters/{letter.id}/replay", WHY, Idempotency_Key="k")
        other = api.post(f"/dead-letters/{letter.id}/discard", WHY, Idempotency_Key="k")
        assert problem(other, 422)["code"] == "request_id_reused"

    @pytest.mark.django_db(transaction=True)
    def test_runs_once_for_many_at_once(self, letter: DeadLetter) -> None:
        api = Api("operate")

        def send(_: int) -> tuple[bytes, bool]:
            try:
                response = api.post(f"/dead-letters/{letter.id}/replay", WHY, Idempotency_Key="k")
                assert response.status_code == 202
                return response.content, "Idempotent-Replayed" in response
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(send, range(6)))
        assert len({content for content, _ in answers}) == 1
        assert sorted(is_replayed for _, is_replayed in answers) == [False, *[True] * 5]
        assert OutboxEntry.objects.count() == 1
        assert audited("dead_letter.replay") == ["done"]


class TestDiscard:
    def test_gives_the_message_up(self, letter: DeadLetter) -> None:
        assert Api("operate").post(f"/dead-letters/{letter.id}/discard", WHY).status_code == 200
        letter.refresh_from_db()
        assert letter.state == "discarded"

    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            ({}, 422, "reason"),
            ({"reason": " "}, 422, "reason"),
            ({"reason": "x" * 1001}, 422, "reason"),
            ({"reason": 7}, 422, "reason"),
            ({"reason": "x", "actor": "root"}, 400, "actor"),
            (b'{"reason": "a\\u0000"}', 400, "reason"),
            (b'{"reason": "a", "reason": "b"}', 400, "reason"),
        ],
    )
    def test_wants_a_reason_and_nothing_else(self, letter: DeadLetter, body: Any, status: int, field: str) -> None:
        problem(Api("operate").post(f"/dead-letters/{letter.id}/discard", body), status, field=field)
        letter.refresh_from_db()
        assert letter.state == "open"


class TestResubmit:
    def test_publishes_a_corrected_copy_that_resolves_the_original(self, letter: DeadLetter) -> None:
        body = WHY | {"data": order(currency="CHF")}
        response = Api("operate").post(f"/dead-letters/{letter.id}/resubmit", body)
        assert response.status_code == 202, response.content
        copy = Message.objects.get(id=response.json()["message_id"])
        assert copy.causation_id == str(letter.message_id)
        letter.refresh_from_db()
        assert (letter.state, letter.copy_id) == ("resubmitting", copy.id)

    def test_names_the_field_that_violates_the_contract(self, letter: DeadLetter) -> None:
        wrong = order(items=[{"sku": "TEA-1", "quantity": -1, "unit_price": "1"}])
        response = Api("operate").post(f"/dead-letters/{letter.id}/resubmit", WHY | {"data": wrong})
        problem(response, 422, field="data.items[0].quantity")
        assert Message.objects.count() == 1

    def test_keeps_masked_values(self, letter: DeadLetter) -> None:
        shown = Api("read").get(f"/dead-letters/{letter.id}").json()["data"]
        response = Api("operate").post(
            f"/dead-letters/{letter.id}/resubmit", WHY | {"data": shown | {"currency": "CHF"}}
        )
        copy = Message.objects.get(id=response.json()["message_id"])
        assert b"ada@example.com" in bytes(copy.body)

    def test_keeps_every_digit_of_a_number(self, letter: DeadLetter) -> None:
        text = json.dumps(WHY | {"data": order()}).replace('"9.00"', "9.00")
        response = Api("operate").post(f"/dead-letters/{letter.id}/resubmit", text.encode())
        assert b'"total":9.00' in bytes(Message.objects.get(id=response.json()["message_id"]).body)


class TestPause:
    def test_holds_a_consumer_until_resumed(self) -> None:
        synchronise()
        api = Api("operate", "read")
        paused = api.post(f"/consumers/{rows.CHARGE}/pause", WHY)
        assert (paused.status_code, paused.json()) == (200, {"name": rows.CHARGE, "is_paused": True})
        assert api.get(f"/consumers/{rows.CHARGE}").json()["status"] == "paused"
        problem(api.post(f"/consumers/{rows.CHARGE}/pause", WHY), 409)
        assert api.post(f"/consumers/{rows.CHARGE}/resume").status_code == 200
        assert ConsumerState.objects.get(name=rows.CHARGE).paused_at is None
        assert audited("consumer.pause") == ["done", "refused"]

    @pytest.mark.parametrize(
        "until", ["2020-01-01T00:00:00Z", "tomorrow", "9999-12-31T23:59:59-14:00", "infinity", 1e300]
    )
    def test_ends_only_in_the_future(self, until: object) -> None:
        synchronise()
        response = Api("operate").post(f"/consumers/{rows.CHARGE}/pause", WHY | {"until": until})
        problem(response, 422, field="until")

    def test_may_end_by_itself(self) -> None:
        synchronise()
        until = clock.now() + timedelta(hours=1)
        response = Api("operate").post(f"/consumers/{rows.CHARGE}/pause", WHY | {"until": until.isoformat()})
        assert response.status_code == 200
        assert ConsumerState.objects.get(name=rows.CHARGE).paused_until == until


class TestQuarantine:
    def test_retries_what_is_accepted_now(self) -> None:
        raw = b'{"type": "ecommerce.OrderConfirmed", "version": 1, "data": %s}'
        data = b'{"order_id": "6b1f5f0e-8a0b-4f0e-9b0a-0d5b8f3c2a11", "customer_email": "a@b.c", "language": "en",'
        data += b'"total": "1", "currency": "EUR"}'
        row = rows.quarantined(raw % data, content_type="application/json", kind="parked")
        response = Api("operate").post(f"/quarantine/{row.id}/retry")
        assert (response.status_code, response.json()["status"]) == (200, "accepted")
        assert QuarantinedMessage.objects.get().message_id == Message.objects.get().id

    def test_says_why_it_is_still_refused(self) -> None:
        row = rows.quarantined(b"{", content_type="application/json")
        assert "still refused" in problem(Api("operate").post(f"/quarantine/{row.id}/retry"), 409)["detail"]

    def test_discards(self) -> None:
        row = rows.quarantined()
        assert Api("operate").post(f"/quarantine/{row.id}/discard", WHY).json()["status"] == "discarded"
        problem(Api("operate").post(f"/quarantine/{row.id}/discard", WHY), 409)


class TestWholeWay:
    @pytest.mark.django_db(transaction=True)
    def test_an_order_posted_here_is_handled_and_seen_here(self) -> None:
        synchronise()
        api = Api("publish", "read")
        sent = {"type": "ecommerce.OrderPlaced", "version": 2, "data": order()}
        message = api.post("/messages", sent).json()["id"]
        run_until_idle()
        assert api.get(f"/messages/{message}").json()["status"] in {"handled", "retrying", "dead"}
        outcomes = api.get("/stats").json()["outcomes"]
        assert sum(row["count"] for row in outcomes) > 0
