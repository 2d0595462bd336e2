"""Which spans are recorded: a share of the traces by their id, and every trace in which something failed."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from messaging.tracing import KEEP

_TICKS = ("run/messaging.", "apply_async/messaging.")


class KeepFailures(Sampler):
    """Asks ``inner``, except that a span marked as kept is recorded whatever its parent, and noise is not.

    Noise is a trace that would consist of nothing but one statement, one broker command, or one tick or wake-up of the
    bus itself: looks of relays and workers, heartbeats.
    """

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if attributes and attributes.get(KEEP):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        is_ours = attributes is not None and attributes.get("messaging.system") == "signalbox"
        if (kind is SpanKind.CLIENT and not is_ours) or name.startswith(_TICKS):
            parent = trace.get_current_span(parent_context).get_span_context()
            if not parent.is_valid:
                return SamplingResult(Decision.DROP)
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"KeepFailures({self._inner.get_description()})"
