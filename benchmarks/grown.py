"""The growth figures as the report shows them."""

from __future__ import annotations

from typing import Any

from benchmarks.touched import KEEP_MS, KEEP_ROWS

_PLANS = """<!-- Written by the report (benchmarks/grown.py) from benchmarks/growth.json. Do not edit by hand. -->
# Plans of the console's dearest statements

With {stored:,} stored messages, measured {at}. Of each page the statement that took longest, if it touched at least
{rows:,} rows or took {ms:g} ms; see [performance](performance.md) for all pages. Plans are of `EXPLAIN (ANALYZE)`, with
ids and long lists shortened.
"""


def text(growth: dict[str, Any]) -> str:
    """Return the figures as Markdown, as far as they were measured."""
    parts = [f"Measured {growth['at']} (load average {growth['load']})."]
    if "history" in growth:
        parts.append(_costs(growth))
    if "pages" in growth:
        parts.append(_pages(growth))
    return "\n\n".join(parts)


def _costs(growth: dict[str, Any]) -> str:
    history = growth["history"]
    costs = {
        "empty": history["empty"],
        f"{growth['stored']:,} stored": history["stored"],
        **{f"empty, {name} an event": costs for name, costs in growth.get("payload", {}).items()},
    }
    steps = "\n".join(
        f"| {name} | {step['publish']:.3f} | {step['relay']:.3f} | {step['deliver']:.3f} |"
        for name, step in costs.items()
    )
    return (
        f"{growth['rounds']} rounds of {growth['n']} orders, in one process. CPU milliseconds per event, Python and"
        " PostgreSQL together; the order's own INSERT and the handler's are in it.\n\n"
        f"| database | publish | relay | deliver |\n|---|---|---|---|\n{steps}"
    )


def _pages(growth: dict[str, Any]) -> str:
    pages = "\n".join(
        f"| {name} | {page['p50_ms']:.0f} | {page['p95_ms']:.0f} | {page['cpu_ms']:.0f} | {page['queries']} |"
        f" {page['rows_touched']:,} |"
        for name, page in growth["pages"].items()
    )
    return (
        f"The console and its API with {growth['stored']:,} stored messages, on the server:\n\n"
        f"| page | p50 ms | p95 ms | CPU ms | queries | rows touched |\n|---|---|---|---|---|---|\n{pages}\n\n"
        "Queries include the status strip of every page, which a server reads once a second. Rows touched are what the"
        " scans of all of them returned or threw away; the plans of the dearest statements are in"
        " [their own page](performance-plans.md)."
    )


PLANS_SHOWN = 25
"""The dearest of those that were kept; the others are in growth.json."""


def plans(growth: dict[str, Any] | None) -> str:
    """Return the plans that were kept as a page of Markdown."""
    if growth is None or "pages" not in growth:
        return "# Plans\n\nNot measured yet: run `python -m benchmarks.growth`.\n"
    head = _PLANS.format(rows=KEEP_ROWS, ms=KEEP_MS, stored=growth["stored"], at=growth["at"])
    kept = [(name, page) for name, page in growth["pages"].items() if "dearest" in page]
    dearest = sorted(kept, key=lambda each: -float(each[1]["dearest"]["ms"]))[:PLANS_SHOWN]
    return "\n".join([head, *(_plan(name, page) for name, page in dearest)])


def _plan(name: str, page: dict[str, Any]) -> str:
    dearest = page["dearest"]
    lines = "\n".join([dearest["sql"], "", *dearest["plan"]])
    return f"## {name}\n\n{dearest['rows']:,} rows, {dearest['ms']:g} ms.\n\n```\n{lines}\n```\n"
