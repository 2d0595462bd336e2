"""OpenTelemetry, on by configuration: spans go to an OTLP endpoint when one is named, nowhere otherwise.

The standard variables apply: OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT), OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_RESOURCE_ATTRIBUTES.
"""

from __future__ import annotations

import os

from django.conf import settings


def start() -> bool:
    """Instrument Django, Celery, psycopg and Redis and export their spans; return whether tracing is on."""
    if not settings.TRACING:
        return False
    # A second of imports, which every command would pay.
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    DjangoInstrumentor().instrument()
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # the library has no types here
    PsycopgInstrumentor().instrument(enable_commenter=False)
    RedisInstrumentor().instrument()
    name = os.environ.get("OTEL_SERVICE_NAME", settings.MESSAGING["source"])
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: str(name), "service.version": str(settings.RELEASE)})
    )
    # The batch processor starts its thread anew in each child of a prefork worker.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True
