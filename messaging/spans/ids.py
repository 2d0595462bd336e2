"""Ids of spans: random, except for one that is made after the fact under the id that others already refer to."""

from __future__ import annotations

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from messaging.tracing import forced_ids


class GivenIds(RandomIdGenerator):
    """See ``tracing.forced_ids``."""

    def generate_span_id(self) -> int:
        given = forced_ids.get()
        return given[1] if given else super().generate_span_id()

    def generate_trace_id(self) -> int:
        given = forced_ids.get()
        return given[0] if given else super().generate_trace_id()
