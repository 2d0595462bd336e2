from __future__ import annotations

import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from messaging.models import Message, OutboxEntry, QuarantinedMessage, ReceivedMessage, RequestRecord
from tests.api import Api, event, order, problem

pytestmark = pytest.mark.django_db

CLOUD = "application/cloudevents+json"


def raw(text: str) -> bytes:
    """Return a publishable body with ``text`` as the data's first member."""
    rest = json.dumps(order())[1:]
    return f'{{"type": "ecommerce.OrderPlaced", "version": 2, "data": {{{text}, {rest}}}'.encode()


def nothing_stored() -> bool:
    return not any(
        model.objects.exists() for model in (Message, OutboxEntry, QuarantinedMessage, ReceivedMessage, RequestRecord)
    )


class TestPublish:
    def test_stores_a_message_and_answers_with_its_id(self) -> None:
        response = Api("publish", name="till").post("/messages", event(key="order 7", correlation_id="flow-7"))
        assert response.status_code == 202
        body = response.json()
        stored = Message.objects.get(id=body["id"])
        assert body["status"] == "accepted"
        assert (stored.type, stored.version, stored.key) == ("ecommerce.OrderPlaced", 2, "order 7")
        assert (stored.correlation_id, stored.source) == ("flow-7", "till")
        assert OutboxEntry.objects.filter(message_id=stored.id).count() == 1

    def test_takes_a_structured_cloud_event(self) -> None:
        cloud = {
            "specversion": "1.0", "id": "e-1", "source": "/tills/3", "type": "ecommerce.OrderPlaced.v2",
            "datacontenttype": "application/json", "subject": "order 7", "data": order(),
        }  # fmt: skip
        api = Api("publish")
        response = api.post("/messages", cloud, content_type=CLOUD)
        assert response.status_code == 202, response.content
        assert Message.objects.get().source == "/tills/3"
        assert api.post("/messages", cloud, content_type=CLOUD).json() == {**response.json(), "status": "duplicate"}

    def test_takes_a_gzipped_body(self) -> None:
        squeezed = gzip.compress(json.dumps(event()).encode())
        assert Api("publish").post("/messages", squeezed, Content_Encoding="gzip").status_code == 202
        assert Message.objects.count() == 1

    def test_answers_a_repeated_id_as_duplicate(self) -> None:
        api, body = Api("publish"), event(id="till-3/81")
        first, second = api.post("/messages", body), api.post("/messages", body)
        assert second.status_code == 202
        assert second.json() == {"id": first.json()["id"], "status": "duplicate"}
        assert Message.objects.count() == 1

    def test_refuses_an_id_reused_with_another_body(self) -> None:
        api = Api("publish")
        assert api.post("/messages", event(id="till-3/81")).status_code == 202
        problem(api.post("/messages", event(id="till-3/81", data=order(currency="CHF"))), 409, field="id")
        assert Message.objects.count() == 1

    def test_keeps_ids_of_two_senders_apart(self) -> None:
        for _ in range(2):
            assert Api("publish").post("/messages", event(id="1")).json()["status"] == "accepted"


class TestRefusal:
    @pytest.mark.parametrize(
        ("text", "field"),
        [
            (r'"note": "a\u0000b"', "data.note"),
            (r'"\u0000": 1', r'data["\u0000"]'),
            (r'"note": "\ud800"', "data.note"),
            ('"n": NaN', "data.n"),
            ('"n": [Infinity]', "data.n[0]"),
            ('"n": {"m": -Infinity}', "data.n.m"),
            ('"n": 1e400', "data.n"),
            ('"n": ' + "9" * 5000, "data.n"),
            ('"currency": "CHF"', "data.currency"),
        ],
    )
    def test_names_the_place_of_what_json_cannot_carry(self, text: str, field: str) -> None:
        problem(Api("publish").post("/messages", raw(text)), 400, field=field)
        assert nothing_stored()

    @pytest.mark.parametrize(
        "body",
        [
            b"", b" ", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b'{"type": "\xff"}', b"\xef\xbb\xbf{}",
            b"[" * 100_000, b'{"a":' * 50_000, b'{"type": "\xed\xa0\x80"}', b"{}{}",
        ],
        ids=lambda body: repr(body[:12]),
    )  # fmt: skip
    def test_tells_a_body_that_is_no_object(self, body: bytes) -> None:
        problem(Api("publish").post("/messages", body), 400)
        assert nothing_stored()

    @pytest.mark.parametrize(
        ("changes", "status", "field"),
        [
            ({"type": "ecommerce.OrderPlacd"}, 422, "type"),
            ({"version": 99}, 422, "version"),
            ({"version": 0}, 422, "version"),
            ({"version": True}, 422, "version"),
            ({"version": 2**70}, 422, "version"),
            ({"version": "2"}, 422, "version"),
            ({"type": ""}, 422, "type"),
            ({"type": 7}, 422, "type"),
            ({"data": []}, 422, "data"),
            ({"key": "k" * 201}, 422, "key"),
            ({"id": "i" * 201}, 422, "id"),
            ({"correlation_id": ""}, 422, "correlation_id"),
            ({"occurred_at": "infinity"}, 422, "occurred_at"),
            ({"occurred_at": "10000-01-01T00:00:00Z"}, 422, "occurred_at"),
            ({"occurred_at": "0001-01-01T00:00:00+14:00"}, 422, "occurred_at"),
            ({"tenant": "acme"}, 400, "tenant"),
            ({"source": "forged"}, 400, "source"),
            (
                {"data": order(items=[{"sku": "TEA-1", "quantity": 0, "unit_price": "1"}])},
                422,
                "data.items[0].quantity",
            ),
            ({"data": order(order_id="7")}, 422, "data.order_id"),
            ({"data": order(total=2**70)}, 422, "data.total"),
            ({"data": order(note="x")}, 422, "data.note"),
        ],
    )
    def test_names_the_field(self, changes: dict[str, Any], status: int, field: str) -> None:
        problem(Api("publish").post("/messages", event(**changes)), status, field=field)
        assert nothing_stored()

    @pytest.mark.parametrize("missing", ["type", "version", "data"])
    def test_names_a_missing_field(self, missing: str) -> None:
        body = {name: value for name, value in event().items() if name != missing}
        problem(Api("publish").post("/messages", body), 422, field=missing)

    @pytest.mark.parametrize("missing", ["id", "source", "type", "specversion"])
    def test_names_a_missing_attribute_of_a_cloud_event(self, missing: str) -> None:
        cloud = {"specversion": "1.0", "id": "1", "source": "/s", "type": "ecommerce.OrderPlaced", "data": order()}
        problem(Api("publish").post("/messages", cloud | {missing: None}, content_type=CLOUD), 422, field=missing)
        assert nothing_stored()

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data; boundary=x",
         "application/cloudevents-batch+json", "application/json; charset=utf-16", "", "/", "é"],
    )  # fmt: skip
    def test_tells_the_content_types_that_it_takes(self, content_type: str) -> None:
        response = Api("publish").post("/messages", event(), content_type=content_type)
        problem(response, 415, field="Content-Type")

    def test_refuses_a_body_over_the_limit(self) -> None:
        problem(Api("publish").post("/messages", event(data=order(note="x" * 10_000_000))), 413)
        assert nothing_stored()

    def test_refuses_a_gzip_bomb_without_unfolding_it(self) -> None:
        bomb = gzip.compress(b"0" * 200_000_000, compresslevel=9)
        problem(Api("publish").post("/messages", bomb, Content_Encoding="gzip"), 413)

    @pytest.mark.parametrize(
        "body",
        [b"no gzip", gzip.compress(b"{}")[:-5], gzip.compress(b"{}") + b"rest", gzip.compress(b"") * 50,
         zlib.compress(b"{}")],
        ids=["plain", "cut", "trailing", "members", "zlib"],
    )  # fmt: skip
    def test_refuses_damaged_gzip(self, body: bytes) -> None:
        problem(Api("publish").post("/messages", body, Content_Encoding="gzip"), 400, field="Content-Encoding")

    @pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
    def test_refuses_other_encodings(self, encoding: str) -> None:
        response = Api("publish").post("/messages", event(), Content_Encoding=encoding)
        problem(response, 415, field="Content-Encoding")
        assert response["Accept-Encoding"] == "gzip"


class TestIdempotencyKey:
    def test_gives_the_first_answer_again(self) -> None:
        api, body = Api("publish"), event()
        first = api.post("/messages", body, Idempotency_Key="k-1")
        again = api.post("/messages", body, Idempotency_Key="k-1")
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first
        assert Message.objects.count() == 1

    def test_refuses_the_key_with_another_body(self) -> None:
        api = Api("publish")
        assert api.post("/messages", event(), Idempotency_Key="k-1").status_code == 202
        refused = problem(api.post("/messages", event(), Idempotency_Key="k-1"), 422)
        assert refused["code"] == "request_id_reused"
        assert Message.objects.count() == 1

    def test_belongs_to_one_sender(self) -> None:
        body = event()
        for _ in range(2):
            assert "Idempotent-Replayed" not in Api("publish").post("/messages", body, Idempotency_Key="k-1")

    def test_is_free_again_after_a_refusal(self) -> None:
        api = Api("publish")
        problem(api.post("/messages", event(version=99), Idempotency_Key="k-1"), 422)
        assert api.post("/messages", event(), Idempotency_Key="k-1").status_code == 202

    @pytest.mark.parametrize("key", ["", "with space", "k" * 201, "clé"])
    def test_must_be_a_plain_word(self, key: str) -> None:
        problem(Api("publish").post("/messages", event(), Idempotency_Key=key), 400, field="Idempotency-Key")
        assert nothing_stored()

    @pytest.mark.django_db(transaction=True)
    def test_runs_one_of_many_at_once(self) -> None:
        api, body = Api("publish"), event()

        def send(_: int) -> Any:
            try:
                return api.post("/messages", body, Idempotency_Key="k-1")
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(send, range(6)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotent-Replayed" not in answer for answer in answers) == 1
        assert Message.objects.count() == OutboxEntry.objects.count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_publishes_one_of_many_with_the_same_id_at_once(self) -> None:
        api, body = Api("publish"), event(id=str(uuid4()))

        def send(_: int) -> str:
            try:
                return str(api.post("/messages", body).json()["status"])
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as threads:
            outcomes = sorted(threads.map(send, range(6)))
        assert outcomes == ["accepted", *["duplicate"] * 5]
        assert Message.objects.count() == 1
