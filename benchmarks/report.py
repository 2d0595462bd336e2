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
    results = [summary.as_dict() for summary in summarise(runs)]
    return {
        "conditions": given if given["is_complete"] else {**given, "counted": _counted(results, given["measures"])},
        "reference": REFERENCE,
        "results": results,
        "curves": curves(runs),
        "checked_runs": len(runs),
        "failed_checks": [
            f"{run.handler} {run.measure} {run.system}:"
            f" {run.error or f'{run.missing} missing, {run.duplicated} duplicated'}"
            for run in inexact
        ],
    }


def _counted(results: list[dict[str, Any]], measures: list[str]) -> dict[str, int]:
    """Return how many rounds of each measure every system has at least that has any."""
    runs = {name: [row["runs"] for row in results if FIGURES[row["measure"]].of == name] for name in measures}
    return {name: min(of, default=0) for name, of in runs.items()}


def added(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the report of before with what was measured anew in the place of all that it said of the same."""
    again = {_run_of(row) for row in new["results"]}
    figures = {_key(row) for row in new["results"]}
    told_again = again | {line.partition(":")[0] for line in new["failed_checks"]}
    kept = [row for row in before["results"] if _key(row) in figures or _run_of(row) not in told_again]
    rows = {_key(row): row for row in [*kept, *new["results"]]}
    old_curves = [curve for curve in before.get("curves", []) if " ".join(_key(curve)) not in told_again]
    curves = {_key(curve): curve for curve in [*old_curves, *new["curves"]]}
    failed = [line for line in before["failed_checks"] if line.partition(":")[0] not in told_again]
    runs: dict[str, int] = {}
    for row in rows.values():
        runs[_run_of(row)] = max(row["runs"], runs.get(_run_of(row), 0))
    given, later = before["conditions"], new["conditions"]
    lists = ("measures", "systems", "handlers")
    both = {name: list(dict.fromkeys([*given[name], *later[name]])) for name in lists}
    names = ("at", "load", "rounds", "n", "orders", "counted", "seconds", *lists)
    told = {name: later[name] for name in names if name in later}
    return {
        **before,
        "conditions": {**given, **both, "added": [*given.get("added", []), told]},
        "results": list(rows.values()),
        "curves": list(curves.values()),
        "checked_runs": sum(runs.values()),
        "failed_checks": [*failed, *new["failed_checks"]],
    }


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["handler"], row["measure"], row["system"]


def _run_of(row: dict[str, Any]) -> str:
    return f"{row['handler']} {FIGURES[row['measure']].of} {row['system']}"


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
    ended = _stopped(given) + "".join(_again(more) for more in given.get("added", []))
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
        f" {', '.join(more['systems'])}.{_stopped(more)}"
    )


def _stopped(given: dict[str, Any]) -> str:
    """Say of a run that did not come to its end how many rounds each measure got."""
    rounds = ", ".join(f"{name} {count}" for name, count in given.get("counted", {}).items())
    return f" It was stopped before its end; rounds: {rounds}." if rounds else ""


def _orders(given: dict[str, Any], measure: str) -> str:
    """Say of how many orders a measure was, where it is not the number of the run."""
    count = given.get("orders", {}).get(measure, given["n"])
    return "" if count == given["n"] else f" ({count:,} orders)"


def render(root: Path = ROOT) -> None:
    """Write the page anew from the figures that were measured last."""
    write(json.loads((root / "benchmarks/latest.json").read_text()), root)


if __name__ == "__main__":
    render()
