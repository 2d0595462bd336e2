"""Read what OTLP/HTTP exporters send: protobuf or JSON, spans of any service."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]  # no types published
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no types published
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from messaging.errors import Undecodable
from messaging.spans.records import MOST_EVENTS, MOST_LINKS, SpanRecord, attributes, text

_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
_STATES = ("unset", "ok", "error")
_IDS = ("traceId", "spanId", "parentSpanId")
_LATEST_NS = 4_102_444_800 * 10**9
"""The year 2100: what a broken clock says beyond it would stand first in every list for ever."""
_DEEPEST = 8


@dataclass(frozen=True, kw_only=True)
class Received:
    """Spans that can be kept, and how many cannot, with the first reason."""

    records: tuple[SpanRecord, ...]
    rejected: int
    problem: str


def read_protobuf(body: bytes) -> Received:
    """Read an ExportTraceServiceRequest.

    Raises:
        Undecodable: it is none.
    """
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise Undecodable("The body is no ExportTraceServiceRequest in protobuf.") from error
    return _read(request)


def read_json(body: bytes) -> Received:
    """Read an ExportTraceServiceRequest in JSON, where ids are hexadecimal.

    Raises:
        Undecodable: it is none.
    """
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise Undecodable("The body must be a JSON object.")
        request = ParseDict(_with_bytes(document), ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ValueError, ParseError, RecursionError) as error:
        raise Undecodable(f"The body is no ExportTraceServiceRequest in JSON: {str(error)[:200]}") from error
    return _read(request)


def _with_bytes(value: Any) -> Any:
    """Turn ids from hexadecimal into what protobuf's own JSON reader takes for bytes."""
    if isinstance(value, list):
        return [_with_bytes(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _base64(each) if name in _IDS and isinstance(each, str) else _with_bytes(each)
        for name, each in value.items()
    }


def _base64(hexadecimal: str) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(hexadecimal)).decode()
    except (binascii.Error, ValueError):
        return ""  # an id of no length: that span is rejected, the others are not


def _read(request: ExportTraceServiceRequest) -> Received:
    records, rejected, problem = [], 0, ""
    for resource in request.resource_spans:
        service = text(_attributes(resource.resource.attributes).get("service.name", "unknown"), 200)
        for scoped in resource.scope_spans:
            for span in scoped.spans:
                wrong = _what_is_wrong(span)
                if wrong:
                    rejected, problem = rejected + 1, problem or wrong
                else:
                    records.append(_record(span, service=service, scope=scoped.scope.name))
    return Received(records=tuple(records), rejected=rejected, problem=problem)


def _what_is_wrong(span: OtlpSpan) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "A traceId must be 16 bytes, not all zero."
    if len(span.span_id) != 8 or not any(span.span_id):
        return "A spanId must be 8 bytes, not all zero."
    if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano < _LATEST_NS:
        return "A span must end after it began, before the year 2100."
    return ""


def _record(span: OtlpSpan, *, service: str, scope: str) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if len(span.parent_span_id) == 8 and any(span.parent_span_id) else "",
        name=text(span.name, 300),
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "internal",
        service=service,
        scope=text(scope, 200),
        started_us=span.start_time_unix_nano // 1000,
        duration_us=(span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        status=_STATES[span.status.code] if 0 <= span.status.code < len(_STATES) else "unset",
        status_message=text(span.status.message, 2000),
        attributes=attributes(_attributes(span.attributes)),
        events=[
            {
                "name": text(event.name, 300),
                "at_us": min(event.time_unix_nano, _LATEST_NS) // 1000,
                "attributes": attributes(_attributes(event.attributes)),
            }
            for event in span.events[:MOST_EVENTS]
        ],
        links=[
            {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
            for link in span.links[:MOST_LINKS]
            if len(link.trace_id) == 16 and len(link.span_id) == 8
        ],
    )


def _attributes(given: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(given)
    return {pair.key: _value(pair.value, 0) for pair in pairs}


def _value(value: AnyValue, depth: int) -> Any:
    which = value.WhichOneof("value")
    if which is None or depth > _DEEPEST:
        return ""
    if which == "array_value":
        return [_value(each, depth + 1) for each in value.array_value.values]
    if which == "kvlist_value":
        return str({pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values})
    if which == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, which)
