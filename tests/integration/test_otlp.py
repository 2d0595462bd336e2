"""Other services send spans by OTLP/HTTP; the API gives them back with the bus's own."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest
from django.test import Client
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no types published
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from console import tokens
from console.api import otlp
from messaging.models import Message, Span
from tests.factories import arrive

pytestmark = pytest.mark.django_db

TRACE, PARENT, CHILD = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b173", "eee19b7ec3c1b174"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def document(*, trace_id: str = TRACE, parent_id: str = PARENT, **changes: Any) -> dict[str, Any]:
    """A batch with one span, as the exporters of every language write it."""
    began = time.time_ns()
    span = {
        "traceId": trace_id, "spanId": CHILD, "parentSpanId": parent_id, "name": "charge", "kind": 2,
        "startTimeUnixNano": str(began), "endTimeUnixNano": str(began + 5_000_000), "status": {"code": 2},
        "attributes": [{"key": "retries", "value": {"intValue": "3"}}, {"key": "who", "value": {"stringValue": "ana"}}],
        "events": [{"name": "exception", "timeUnixNano": str(began), "attributes": []}],
        **changes,
    }  # fmt: skip
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "payments"}}]}
    return {"resourceSpans": [{"resource": service, "scopeSpans": [{"scope": {"name": "node"}, "spans": [span]}]}]}


def protobuf(**changes: Any) -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(TRACE), bytes.fromhex(CHILD), "charge"
    span.start_time_unix_nano = time.time_ns()
    span.end_time_unix_nano = span.start_time_unix_nano + 1000
    for name, value in changes.items():
        setattr(span, name, value)
    return bytes(request.SerializeToString())


@pytest.fixture
def token() -> str:
    return tokens.create(name="payments", scopes=["trace"])[1]


def send(body: bytes | dict[str, Any], token: str = "", content_type: str = JSON, **headers: str) -> Any:
    given = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    answer: Any = Client().post("/v1/traces", raw, content_type, **given, **headers)
    return answer


class TestExport:
    def test_takes_json(self, token: str) -> None:
        answer = send(document(), token)
        assert (answer.status_code, json.loads(answer.content)) == (200, {})
        [span] = Span.objects.all()
        assert (span.trace_id, span.span_id, span.parent_id) == (TRACE, CHILD, PARENT)
        assert (span.name, span.service, span.kind, span.status) == ("charge", "payments", "server", "error")
        assert (span.duration_us, span.attributes) == (5000, {"retries": 3, "who": "ana"})
        assert [event["name"] for event in span.events] == ["exception"]

    def test_takes_protobuf_and_gzip(self, token: str) -> None:
        answer = send(gzip.compress(protobuf()), token, PROTOBUF, HTTP_CONTENT_ENCODING="gzip")
        assert (answer.status_code, answer["Content-Type"]) == (200, PROTOBUF)
        assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
        assert Span.objects.get().trace_id == TRACE

    def test_says_what_of_a_batch_it_rejected(self, token: str) -> None:
        both = document()
        both["resourceSpans"] += document(traceId="00")["resourceSpans"]
        answer = send(both, token)
        assert answer.status_code == 200
        partial = json.loads(answer.content)["partialSuccess"]
        assert (partial["rejectedSpans"], "traceId" in partial["errorMessage"]) == ("1", True)
        assert Span.objects.count() == 1

    @pytest.mark.parametrize(
        "changes",
        [{"spanId": ""}, {"traceId": "0" * 32}, {"endTimeUnixNano": "1"}, {"endTimeUnixNano": "18446744073709551615"}],
    )
    def test_rejects_what_is_no_span(self, token: str, changes: dict[str, Any]) -> None:
        answer = send(document(**changes), token)
        assert json.loads(answer.content)["partialSuccess"]["rejectedSpans"] == "1"
        assert not Span.objects.exists()

    def test_keeps_hostile_text(self, token: str) -> None:
        hostile = [{"key": "a\x00b" * 200, "value": {"doubleValue": "NaN"}}]
        assert send(document(name="x\x00y" * 1000, attributes=hostile), token).status_code == 200
        assert len(Span.objects.get().name) <= 1000

    def test_asks_for_a_token_with_its_scope(self, token: str) -> None:
        reader = tokens.create(name="reader", scopes=["read"])[1]
        assert send(document()).status_code == 401
        assert send(document(), "sb_wrong").status_code == 401
        assert send(document(), reader).status_code == 403
        assert not Span.objects.exists()

    def test_answers_errors_with_a_status_in_the_encoding_of_the_request(self, token: str) -> None:
        answer = send(b"\xff\xff", token, PROTOBUF)
        assert answer.status_code == 400
        assert "protobuf" in Status.FromString(answer.content).message
        answer = send(b'{"resourceSpans": 1}', token)
        assert answer.status_code == 400
        assert "JSON" in json.loads(answer.content)["message"]

    def test_refuses_types_encodings_and_sizes_it_does_not_know(self, token: str) -> None:
        assert send(document(), token, "text/plain").status_code == 415
        assert send(document(), token, HTTP_CONTENT_ENCODING="br").status_code == 415
        bomb = gzip.compress(b" " * (otlp.LIMIT_BYTES + 1))
        assert send(bomb, token, HTTP_CONTENT_ENCODING="gzip").status_code == 413
        assert Client().get("/v1/traces").status_code == 405

    def test_says_when_to_come_back_after_too_many(self, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(otlp, "allowance", otlp.Allowance(per_second=0.01, burst=1))
        assert send(document(), token).status_code == 200
        answer = send(document(), token)
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) > 0


class TestApi:
    def test_gives_a_trace_with_the_spans_of_every_service(self, token: str) -> None:
        [message_id] = arrive("ICE 1")
        traceparent = Message.objects.get(id=message_id).traceparent
        send(document(trace_id=traceparent[3:35], parent_id=traceparent[36:52]), token)
        reader = tokens.create(name="reader", scopes=["read"])[1]
        headers = {"HTTP_AUTHORIZATION": f"Bearer {reader}"}
        answer = Client().get(f"/api/v1/traces/{traceparent[3:35]}", **headers)
        assert [(each["service"], each["name"]) for each in answer.json()["spans"]] == [("payments", "charge")]
        listed = Client().get("/api/v1/traces?service=payments&only_failed=true", **headers)
        assert [each["trace_id"] for each in listed.json()["items"]] == [traceparent[3:35]]
        missing = Client().get(f"/api/v1/traces/{'0' * 32}", **headers)
        assert missing.status_code == 404
