"""The report of a shadow replay: sums over what was found, and the messages that differ. Plain JSON, pure."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from messaging.replays.shadow import Finding

SAMPLES = 200
"""Differing messages that are kept by id; the counts go on."""


def with_finding(report: Mapping[str, Any], finding: Finding, *, message_id: str, type: str) -> dict[str, Any]:
    """Return the report with one more message in it."""
    after = deepcopy(dict(report))
    _count(after, "outcomes", finding.outcome)
    for table, rows in finding.changes.items():
        before = after.setdefault("tables", {}).get(table, [0, 0, 0])
        after["tables"][table] = [one + other for one, other in zip(before, rows, strict=True)]
    for name, times in finding.published.items():
        _count(after, "published", name, times)
    if finding.error:
        _count(after, "errors", finding.error)
    if not finding.recorded:
        after["unrecorded"] = after.get("unrecorded", 0) + 1
    if finding.differences:
        after["differing"] = after.get("differing", 0) + 1
        for each in finding.differences:
            _count(after, "differences", each)
        samples = after.setdefault("samples", [])
        if len(samples) < SAMPLES:
            samples.append({
                "message_id": message_id, "type": type, "differences": list(finding.differences),
                "error": finding.error,
            })  # fmt: skip
    return after


def _count(report: dict[str, Any], part: str, name: str, times: int = 1) -> None:
    counts = report.setdefault(part, {})
    # Texts of errors may be different for every message: a report stays of a size that can be read.
    if name not in counts and len(counts) >= SAMPLES:
        name = "others"
    counts[name] = counts.get(name, 0) + times
