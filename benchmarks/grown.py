"""The growth figures as the report shows them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.servers import ROOT

FILE = ROOT / "benchmarks/growth.json"


def read() -> dict[str, Any] | None:
    """Return what ``python -m benchmarks.growth`` wrote last, if it ever ran."""
    return json.loads(FILE.read_text()) if FILE.exists() else None


def text(growth: dict[str, Any] | None) -> str:
    """Return the figures as Markdown."""
    if growth is None:
        return "Not measured yet: run `python -m benchmarks.growth`."
    history, payload = growth["history"], growth["payload"]
    costs = {
        "empty": history["empty"],
        f"{growth['stored']:,} stored": history["stored"],
        **{f"empty, {name} an event": costs for name, costs in payload.items()},
    }
    steps = "\n".join(
        f"| {name} | {step['publish']:.3f} | {step['relay']:.3f} | {step['deliver']:.3f} |"
        for name, step in costs.items()
    )
    pages = "\n".join(
        f"| {name} | {page['p50_ms']:.0f} | {page['p95_ms']:.0f} | {page['cpu_ms']:.0f} | {page['queries']} |"
        for name, page in growth["pages"].items()
    )
    return (
        f"Measured {growth['at']} (load average {growth['load']}), {growth['rounds']} rounds of {growth['n']} orders,"
        " in one process. CPU milliseconds per event, Python and PostgreSQL together; the order's own INSERT and the"
        " handler's are in it.\n\n"
        f"| database | publish | relay | deliver |\n|---|---|---|---|\n{steps}\n\n"
        f"The console and its API with {growth['stored']:,} stored messages, on the server:\n\n"
        f"| page | p50 ms | p95 ms | CPU ms | queries |\n|---|---|---|---|---|\n{pages}"
    )
