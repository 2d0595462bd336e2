"""Spans in tree order with the critical path marked: pure functions over what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from messaging.queries.traces import SpanView


def arrange(spans: Sequence[SpanView]) -> list[SpanView]:
    """Order spans (given by time) as a tree; one whose parent is not there is a root, a circle is cut."""
    known = {span.span_id for span in spans}
    children: dict[str, list[SpanView]] = {}
    for span in spans:
        is_child = span.parent_id in known and span.parent_id != span.span_id
        children.setdefault(span.parent_id if is_child else "", []).append(span)
    critical = _critical(children)
    ordered: list[SpanView] = []
    seen: set[str] = set()
    waiting = [(span, 0) for span in reversed(children.get("", []))]
    while waiting or len(ordered) < len(spans):
        if not waiting:
            waiting.append((next(span for span in spans if span.span_id not in seen), 0))
        span, depth = waiting.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        ordered.append(replace(span, depth=depth, is_critical=span.span_id in critical))
        waiting += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]
    return ordered


def _critical(children: dict[str, list[SpanView]]) -> set[str]:
    """Return the spans that the end of the trace waited for, going back from its end.

    A child may outlive its parent (a message handled after the request was answered), so what counts is the end of
    the whole subtree.
    """
    ends = _ends(children)
    critical: set[str] = set()
    roots = children.get("", [])
    if not roots:
        return critical
    waiting = [(roots, max(ends[root.span_id] for root in roots))]
    while waiting:
        siblings, until = waiting.pop()
        for span in sorted(siblings, key=lambda each: ends[each.span_id], reverse=True):
            end = ends[span.span_id]
            if end <= until and span.span_id not in critical:
                critical.add(span.span_id)
                if span.span_id in children:
                    waiting.append((children[span.span_id], end))
                until = min(until, span.offset_us)
    return critical


def _ends(children: dict[str, list[SpanView]]) -> dict[str, int]:
    """Return when the last span below each one ended, itself included."""
    ends: dict[str, int] = {}
    order: list[SpanView] = []
    waiting = list(children.get("", []))
    while waiting:
        span = waiting.pop()
        order.append(span)
        waiting += children.get(span.span_id, [])
    for span in reversed(order):
        below = [ends[child.span_id] for child in children.get(span.span_id, [])]
        ends[span.span_id] = max([span.offset_us + span.duration_us, *below])
    return ends
