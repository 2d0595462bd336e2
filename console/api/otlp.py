"""/v1/traces: spans of other services by OTLP/HTTP, so that a flow that crosses them shows whole.

Answers as the OTLP specification asks: the request's own encoding, partial success, a Status for every error.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from google.protobuf.json_format import MessageToJson  # type: ignore[import-untyped]  # no types published
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNAVAILABLE  # type: ignore[import-untyped]  # no types published
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no types published
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from console.api import bodies
from console.api.authentication import Bearer
from console.api.problems import Problem, problem_of
from messaging.errors import Undecodable
from messaging.spans import otlp, storing

PROTOBUF = "application/x-protobuf"
ACCEPTS = (PROTOBUF, bodies.JSON)
LIMIT_BYTES = 4 * 1024 * 1024
"""Largest batch, counted after decompression."""
SPANS_PER_SECOND, BURST = 5_000, 50_000
_CODES = {401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 429: RESOURCE_EXHAUSTED, 503: UNAVAILABLE}


class Allowance:
    """How many spans this process still takes: a bucket that fills by itself."""

    def __init__(self, *, per_second: float = SPANS_PER_SECOND, burst: float = BURST) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._at = burst, time.monotonic()
        self._lock = threading.Lock()

    def spend(self, spans: int) -> None:
        """Take ``spans`` from the bucket, even below its bottom: the next one waits for that.

        Raises:
            Problem: 429 when it is empty; Retry-After says when it is not.
        """
        with self._lock:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                wait = str(int((1 - self._left) / self._per_second) + 1)
                raise Problem(429, "too_many_spans", f"Try again in {wait} s.", headers={"Retry-After": wait})
            self._left -= spans


allowance = Allowance()
_gate = Bearer("trace", accepts=ACCEPTS, limit=LIMIT_BYTES)


@csrf_exempt
def export(request: HttpRequest) -> HttpResponse:
    """Store spans; say how many were rejected and why the first."""
    is_json = request.content_type == bodies.JSON
    try:
        if request.method != "POST":
            raise Problem(405, "method_not_allowed", "Spans are sent with POST.", headers={"Allow": "POST"})
        _gate(request)
        received = otlp.read_json(request.body) if is_json else otlp.read_protobuf(request.body)
        allowance.spend(len(received.records))
        storing.write(received.records)
    except Undecodable as error:
        return _refuse(Problem(400, "undecodable", str(error)), is_json=is_json)
    except Exception as error:  # noqa: BLE001  every error has the same shape here, as in the rest of the API
        return _refuse(problem_of(error), is_json=is_json)
    answer = ExportTraceServiceResponse()
    if received.rejected:
        answer.partial_success.rejected_spans = received.rejected
        answer.partial_success.error_message = received.problem
    return _respond(answer, 200, is_json=is_json)


def _refuse(problem: Problem, *, is_json: bool) -> HttpResponse:
    status = Status(code=_CODES.get(problem.status, INVALID_ARGUMENT), message=problem.detail)
    response = _respond(status, problem.status, is_json=is_json)
    for name, value in problem.headers.items():
        response[name] = value
    return response


def _respond(message: Any, status: int, *, is_json: bool) -> HttpResponse:
    if is_json:
        return HttpResponse(MessageToJson(message, indent=None), status=status, content_type=bodies.JSON)
    return HttpResponse(message.SerializeToString(), status=status, content_type=PROTOBUF)


urlpatterns = [path("v1/traces", export, name="otlp-traces")]
