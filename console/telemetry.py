"""OpenTelemetry: spans go to the store for the console's live traces, and to an OTLP endpoint when one is named.

The standard variables apply: OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT), OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_RESOURCE_ATTRIBUTES.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest


def start() -> bool:
    """Instrument Django, Celery, psycopg and Redis, and keep and export their spans; return whether tracing is on.

    A collector that does not answer costs nothing but its own spans: they are exported by a thread with a queue.
    """
    if not settings.TRACING:
        return False
    # A second of imports, which every command would pay.
    from opentelemetry import trace
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    from messaging.spans.processor import StoreProcessor

    _instrument()
    provider = provide()
    provider.add_span_processor(StoreProcessor(suppress_instrumentation))
    if settings.OTLP_ENDPOINT:
        provider.add_span_processor(exporting())
    trace.set_tracer_provider(provider)
    return True


def exporting() -> Any:
    """Return the processor that sends spans to the collector, from a thread of its own with a bounded queue."""
    from opentelemetry.exporter.otlp.proto.http import trace_exporter
    from opentelemetry.sdk import _shared_internal
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    for name in (trace_exporter.__name__, _shared_internal.__name__, "messaging.spans"):
        logging.getLogger(name).addFilter(Seldom())
    # The batch processor starts its thread anew in each child of a prefork worker.
    return BatchSpanProcessor(trace_exporter.OTLPSpanExporter())


class Seldom(logging.Filter):
    """Lets one record of a logger pass a minute, with how many it held back: a collector that is away is no news."""

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._until, self._held = 0.0, 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        with self._lock:
            if now < self._until:
                self._held += 1
                return False
            held, self._held, self._until = self._held, 0, now + self._seconds
        if held:
            record.msg, record.args = f"{record.getMessage()} ({held} records like it were held back)", ()
        return True


def provide() -> Any:
    """Return a tracer provider with this service's name, sampling and ids, without processors."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    from messaging.spans.ids import GivenIds
    from messaging.spans.sampling import KeepFailures

    name = os.environ.get("OTEL_SERVICE_NAME", settings.MESSAGING["source"])
    return TracerProvider(
        resource=Resource.create({SERVICE_NAME: str(name), "service.version": str(settings.RELEASE)}),
        sampler=KeepFailures(_sampler(settings.TRACE_SAMPLER, settings.TRACE_RATIO)),
        id_generator=GivenIds(),
        shutdown_on_exit=False,  # exit must not wait for a collector that does not answer
    )


def _sampler(name: str, ratio: float) -> Any:
    from opentelemetry.sdk.trace import sampling

    shares = {"always_on": 1.0, "always_off": 0.0, "traceidratio": ratio}
    inner = sampling.TraceIdRatioBased(shares[name.removeprefix("parentbased_")])
    return sampling.ParentBased(inner) if name.startswith("parentbased_") else inner


def _instrument() -> None:
    """Instrument what this deployment uses: importing a driver that it does not is a seventh of a command's start."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    # What the console and its scrapers read all day would drown the flows; a request that changes something is traced.
    leave_readings_of_parts_out()
    DjangoInstrumentor().instrument(excluded_urls=UNTRACED)
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # the library has no types here
    if connection.vendor == "postgresql":
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

        pay_for_recorded_statements_only()
        PsycopgInstrumentor().instrument(enable_commenter=False)
    if settings.REDIS_URL:
        from opentelemetry.instrumentation.redis import RedisInstrumentor

        RedisInstrumentor().instrument()


def leave_readings_of_parts_out() -> None:
    """Make no span of what open pages read again by themselves: many a second, of which each resolves its address."""
    from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware

    begin = _DjangoMiddleware.process_request

    def process_request(self: Any, request: HttpRequest) -> None:
        if request.method != "GET" or "HX-Target" not in request.headers:
            begin(self, request)  # type: ignore[no-untyped-call]  # as above

    _DjangoMiddleware.process_request = process_request  # type: ignore[method-assign]


def pay_for_recorded_statements_only() -> None:
    """Ask before each statement whether its span would be recorded.

    The instrumentation finds a name, asks the sampler and makes a span first, only to drop it: for each statement a
    twentieth of what delivering a message costs.
    """
    from opentelemetry import trace
    from opentelemetry.instrumentation import psycopg

    class CursorTracer(psycopg.CursorTracer):
        def traced_execution(self, cursor: Any, query_method: Any, *args: Any, **kwargs: Any) -> Any:
            if not trace.get_current_span().is_recording():
                return query_method(*args, **kwargs)
            return super().traced_execution(cursor, query_method, *args, **kwargs)

    psycopg.CursorTracer = CursorTracer  # type: ignore[misc]


UNTRACED = r"/healthz,/readyz,/metrics$,/static/,/ws/,/shell$,/v1/traces$"
"""Addresses without spans of their own: probes, files, the live connection, the ingest of spans itself."""
