"""The report: a table with ratios first, latest.json for machines, docs/performance.md for people."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import celery
import django

from benchmarks import findings, grown, sections, targets
from benchmarks.figures import Run, curves, summarise
from benchmarks.findings import ROOT
from benchmarks.measures import FIGURES, MEASURES
from benchmarks.servers import Servers
from benchmarks.systems import REFERENCE, SYSTEMS

HANDLER_TITLES = {
    "insert": "The handler inserts one row",
    "contended": "The handler also updates one of ten contended rows",
    "call": "The handler waits 5 ms for another service, at least once",
}


def conditions(servers: Servers, arguments: argparse.Namespace, *, seconds: float, is_complete: bool) -> dict[str, Any]:
    """Return what was measured on what."""
    return {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "seconds": round(seconds),
        "rounds": arguments.rounds,
        "is_complete": is_complete,
        "n": arguments.n,
        "orders": {name: MEASURES[name].orders(arguments.n) for name in arguments.measures},
        "measures": arguments.measures,
        "systems": arguments.systems,
        "handlers": arguments.handlers,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
        "python": platform.python_version(),
        "django": django.get_version(),
        "celery": celery.__version__,
        "postgresql": servers.version,
    }


def document(runs: Sequence[Run], given: dict[str, Any]) -> dict[str, Any]:
    """Return what latest.json holds."""
    inexact = [run for run in runs if run.error or (run.measure != "kill" and (run.missing or run.duplicated))]
    return {
        "conditions": given,
        "reference": REFERENCE,
        "results": [summary.as_dict() for summary in summarise(runs)],
        "curves": curves(runs),
        "checked_runs": len(runs),
        "failed_checks": [
            f"{run.system} {run.measure}: {run.error or f'{run.missing} missing, {run.duplicated} duplicated'}"
            for run in inexact
        ],
    }


def added(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the report of before with what was measured anew in the place of what it said of the same."""
    rows = {(row["handler"], row["measure"], row["system"]): row for row in [*before["results"], *new["results"]]}
    curves = {
        (curve["handler"], curve["measure"], curve["system"]): curve
        for curve in [*before.get("curves", []), *new["curves"]]
    }
    given, later = before["conditions"], new["conditions"]
    lists = ("measures", "systems", "handlers")
    both = {name: list(dict.fromkeys([*given[name], *later[name]])) for name in lists}
    told = {name: later[name] for name in ("at", "load", "rounds", "n", "orders", "seconds", *lists)}
    return {
        **before,
        "conditions": {**given, **both, "added": [*given.get("added", []), told]},
        "results": list(rows.values()),
        "curves": list(curves.values()),
        "checked_runs": before["checked_runs"] + new["checked_runs"],
        "failed_checks": [*before["failed_checks"], *new["failed_checks"]],
    }


def progress(run: Run, rounds: int) -> str:
    figures = "  ".join(f"{name} {_number(value)}" for name, value in run.figures.items())
    check = run.error or ("exact" if not run.missing and not run.duplicated else "NOT EXACT")
    return f"[{run.round + 1}/{rounds}] {run.handler:9} {run.measure:8} {run.system:14} {check:6} {figures}"


def table(summary: dict[str, Any]) -> str:
    """Return the results as Markdown tables, one for each kind of handler, ratios first."""
    parts = []
    for handler in summary["conditions"]["handlers"]:
        rows = [row for row in summary["results"] if row["handler"] == handler]
        if rows:
            parts.append(f"### {HANDLER_TITLES[handler]}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| measure | system | x tuned Celery | 95 % | min-max | median | min-max | unit | runs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = {name: position for position, name in enumerate(FIGURES)}
    for row in sorted(rows, key=lambda row: (order[row["measure"]], row["system"] == REFERENCE)):
        figure = FIGURES[row["measure"]]
        ratio = f"**{row['ratio']:.2f}**" if row["ratio"] is not None else "1" if row["system"] == REFERENCE else "-"
        cells = [
            figure.title + (" (less is better)" if figure.is_cost else ""), SYSTEMS[row["system"]].title, ratio,
            _span(row["low"], row["high"], "{:.2f}"), _span(row["ratio_min"], row["ratio_max"], "{:.2f}"),
            _number(row["median"]), f"{_number(row['min'])}-{_number(row['max'])}", figure.unit,
            str(row["runs"]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _span(low: float | None, high: float | None, form: str) -> str:
    return "-" if low is None or high is None else f"{form.format(low)}-{form.format(high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def write(summary: dict[str, Any], root: Path) -> None:
    """Write benchmarks/latest.json, docs/performance.md and, once there are any, docs/performance-plans.md."""
    growth = findings.read("growth")
    texts = {"benchmarks/latest.json": json.dumps(summary, indent=1) + "\n", "docs/performance.md": _page(summary)}
    if growth:
        texts["docs/performance-plans.md"] = grown.plans(growth)
    for relative, text in texts.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _page(summary: dict[str, Any]) -> str:
    given = summary["conditions"]
    measures = "\n".join(f"- `{name}`: {MEASURES[name].about}{_orders(given, name)}." for name in given["measures"])
    checks = summary["failed_checks"]
    exact = (
        f"All {summary['checked_runs']} runs were counted: each order had exactly one reservation (what the kill"
        " measure counted is shown below)."
        if not checks
        else "Runs that were not exact or did not end:\n\n" + "\n".join(f"- {line}" for line in checks)
    )
    page = (Path(__file__).parent / "page.md").read_text()
    systems = ", ".join(SYSTEMS[name].title for name in given["systems"])
    ended = (
        "" if given["is_complete"] else " The run was stopped in its last round, so some measures have one pair less."
    )
    ended += "".join(_again(more) for more in given.get("added", []))
    return page.format(
        targets=targets.table(
            targets.verdicts(
                summary["results"], findings.read("growth"), findings.read("sustained"), findings.read("embedded")
            )
        ),
        **sections.texts(),
        pictures=sections.pictures(),
        **given,
        ended=ended,
        systems_text=systems,
        measures_text=measures,
        exact=exact,
        table=table(summary),
    )


def _again(more: dict[str, Any]) -> str:
    measures = ", ".join(name + _orders(more, name) for name in more["measures"])
    return (
        f" Measured again by themselves, {more['at']} (load average {more['load']}), {more['rounds']} rounds of"
        f" {more['n']} orders: {measures} with the handlers {', '.join(more['handlers'])} on"
        f" {', '.join(more['systems'])}."
    )


def _orders(given: dict[str, Any], measure: str) -> str:
    """Say of how many orders a measure was, where it is not the number of the run."""
    count = given.get("orders", {}).get(measure, given["n"])
    return "" if count == given["n"] else f" ({count:,} orders)"


def render(root: Path = ROOT) -> None:
    """Write the page anew from the figures that were measured last."""
    write(json.loads((root / "benchmarks/latest.json").read_text()), root)


if __name__ == "__main__":
    render()
