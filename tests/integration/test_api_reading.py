from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from messaging import clock
from messaging.models import AuditRecord
from tests import rows
from tests.api import Api, order, problem

pytestmark = pytest.mark.django_db


def walk(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    """Follow the cursor to the end."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = api.get(path, **query, **after).json()
        found += page["items"]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


class TestLists:
    @pytest.mark.parametrize("limit", [1, 3, 7, 200])
    def test_show_every_row_once_newest_first(self, limit: int) -> None:
        stored = [rows.message(age=age) for age in range(7)]
        for message in stored:
            rows.dead_letter(message)
            rows.quarantined()
        api = Api("read")
        assert [row["id"] for row in walk(api, "/messages", limit=limit)] == [str(message.id) for message in stored]
        for path in ("/dead-letters", "/quarantine"):
            ids = [row["id"] for row in walk(api, path, limit=limit)]
            assert len(ids) == len(set(ids)) == 7
            assert ids == sorted(ids, reverse=True)

    def test_keep_their_place_while_messages_arrive(self) -> None:
        old = [rows.message(age=age) for age in (10, 20, 30)]
        api = Api("read")
        first = api.get("/messages", limit=2).json()
        rows.message(age=0)
        second = api.get("/messages", limit=2, after=first["next"]).json()
        assert [row["id"] for row in first["items"] + second["items"]] == [str(message.id) for message in old]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"type": "shop.Other"}, ["b"]),
            ({"key": "order 7"}, ["a"]),
            ({"correlation_id": "flow-b"}, ["b"]),
            ({"source": "till"}, ["b"]),
            ({"status": "dead"}, ["a"]),
            ({"consumer": rows.CHARGE}, ["a"]),
            ({"type": "shop.Other", "key": "order 7"}, []),
        ],
    )
    def test_narrow_messages(self, query: dict[str, str], found: list[str]) -> None:
        named = {
            "a": rows.message(age=1, key="order 7", correlation_id="flow-a"),
            "b": rows.message(age=2, type="shop.Other", source="till", correlation_id="flow-b"),
        }
        rows.attempt(named["a"], rows.CHARGE, "dead_lettered")
        rows.dead_letter(named["a"], rows.CHARGE)
        listed = [row["id"] for row in walk(Api("read"), "/messages", **query)]
        assert listed == [str(named[name].id) for name in found]

    def test_narrow_messages_by_time(self) -> None:
        wanted, now = rows.message(age=60), clock.now()
        rows.message(age=5)
        rows.message(age=600)
        query = {"since": now - timedelta(seconds=90), "until": now - timedelta(seconds=30)}
        listed = walk(Api("read"), "/messages", **{name: moment.isoformat() for name, moment in query.items()})
        assert [row["id"] for row in listed] == [str(wanted.id)]

    @pytest.mark.parametrize(
        ("query", "status", "field"),
        [
            ({"limit": "0"}, 422, "limit"),
            ({"limit": "201"}, 422, "limit"),
            ({"limit": "many"}, 422, "limit"),
            ({"after": "7"}, 422, "after"),
            ({"status": "broken"}, 422, "status"),
            ({"since": "yesterday"}, 422, "since"),
            ({"since": "2026-11-23T10:00:00"}, 422, "since"),
            ({"since": "0001-01-01T00:00:00+14:00"}, 422, "since"),
            ({"until": "9999-12-31T23:59:59-14:00"}, 422, "until"),
            ({"until": "1e400"}, 422, "until"),
            ({"type": "t" * 201}, 422, "type"),
            ({"key": "a\x00b"}, 400, "key"),
            ({"consumr": "billing"}, 400, "consumr"),
            ({"type__contains": "x"}, 400, "type__contains"),
        ],
    )
    def test_name_a_parameter_that_is_wrong(self, query: dict[str, str], status: int, field: str) -> None:
        problem(Api("read").get("/messages", **query), status, field=field)

    def test_narrow_dead_letters(self) -> None:
        ours = rows.dead_letter(rows.message(), rows.CHARGE)
        rows.dead_letter(rows.message(), rows.RESERVE)
        rows.dead_letter(rows.message(), rows.CHARGE, state="discarded")
        listed = walk(Api("read"), "/dead-letters", consumer=rows.CHARGE)
        assert [row["id"] for row in listed] == [str(ours.id)]

    def test_narrow_the_audit(self) -> None:
        Api("read", name="curious").post("/messages", {})
        listed = walk(Api("read"), "/audit", actor="curious", outcome="denied")
        assert [row["action"] for row in listed] == ["api.publish"]
        assert walk(Api("read"), "/audit", actor="nobody") == []


class TestOneMessage:
    def test_tells_all_that_happened(self) -> None:
        message = rows.message(body={"n": 2**70}, version=1, type="shop.Unknown")
        rows.delivery(message, rows.RESERVE)
        rows.attempt(message, rows.CHARGE, "dead_lettered")
        letter = rows.dead_letter(message, rows.CHARGE)
        found = Api("read").get(f"/messages/{message.id}").json()
        assert found["data"] == {"n": 2**70}
        by_consumer = {each["consumer"]: each for each in found["deliveries"]}
        assert by_consumer[rows.RESERVE]["status"] == "pending"
        assert by_consumer[rows.CHARGE]["dead_letter_id"] == str(letter.id)
        assert by_consumer[rows.CHARGE]["attempts"][0]["error_type"] == "UnknownCurrency"
        assert [each["is_this"] for each in found["related"]] == [True]

    def test_shows_bytes_that_are_no_json_encoded(self) -> None:
        message = rows.message(type="old.Blob", body=b"\xff\x00", content_type="application/octet-stream")
        found = Api("read").get(f"/messages/{message.id}").json()
        assert (found["data"], found["data_base64"]) == (None, "/wA=")

    @pytest.mark.parametrize("identifier", ["7", "%00", "../..", "٧", "a" * 5000])
    def test_is_not_found_by_what_is_no_id(self, identifier: str) -> None:
        response = Api("read").get(f"/messages/{identifier}")
        assert response.status_code in {400, 404, 422}
        problem(response, response.status_code)


class TestMasking:
    def message(self) -> UUID:
        return rows.message(body=order(), version=2).id

    def test_hides_sensitive_fields(self) -> None:
        found = Api("read").get(f"/messages/{self.message()}")
        assert b"ada@example.com" not in found.content
        assert found.json()["is_masked"] is True

    def test_hides_them_in_dead_letters(self) -> None:
        letter = rows.dead_letter(rows.message(body=order(), version=2))
        found = Api("read").get(f"/dead-letters/{letter.id}")
        assert found.json()["data"]["currency"] == "EUR"
        assert b"ada@example.com" not in found.content

    def test_hides_them_from_a_token_that_may_reveal_but_did_not_ask(self) -> None:
        assert b"ada@" not in Api("read", "reveal").get(f"/messages/{self.message()}").content

    def test_reveals_with_scope_and_reason_and_audits_it(self) -> None:
        message = self.message()
        found = Api("read", "reveal", name="support").get(f"/messages/{message}", reveal=1, reason="ticket 81").json()
        assert found["data"]["customer_email"] == "ada@example.com"
        record = AuditRecord.objects.get(action="reveal")
        assert (record.actor, record.target, record.reason) == ("support", f"message:{message}", "ticket 81")

    def test_wants_a_reason(self) -> None:
        problem(Api("read", "reveal").get(f"/messages/{self.message()}", reveal=1), 422, field="reason")
        assert not AuditRecord.objects.exists()

    def test_wants_the_scope(self) -> None:
        problem(Api("read").get(f"/messages/{self.message()}", reveal=1, reason="curious"), 403)
        assert AuditRecord.objects.get().outcome == "denied"


class TestStats:
    def test_count_what_is_there(self) -> None:
        message = rows.message(age=60)
        rows.outbox(message)
        rows.delivery(message)
        rows.dead_letter(message)
        rows.quarantined()
        vitals = Api("read").get("/stats").json()["vitals"]
        assert {name: vitals[name] for name in ("outbox_rows", "backlog", "dead_letters", "quarantined")} == {
            "outbox_rows": 1, "backlog": 1, "dead_letters": 1, "quarantined": 1,
        }  # fmt: skip
