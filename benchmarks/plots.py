"""``python -m benchmarks.plots``: draw the report's figures into docs/images, in the peers' environment.

matplotlib lives there, as only the report needs it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from benchmarks import findings
from benchmarks.findings import ROOT

PLACE = ROOT / "docs/images"
OURS, THEIRS, OTHERS = "#2563eb", "#d97706", "#9ca3af"
TITLES = {"bus": "this bus", "bus-batch": "this bus, batch", "celery": "Celery, tuned", "celery-stock": "Celery, stock"}
LINES = {
    "workers": "worker processes",
    "workers, 5 ms call": "worker processes, 5 ms call",
    "relays": "relays",
    "consumers": "consumers of one event",
    "backlog": "messages waiting",
}


PEERS = {
    "procrastinate": "#7c3aed", "pgqueuer": "#059669", "dramatiq": "#db2777", "faststream": "#0891b2",
    "django-tasks": "#65a30d", "django-outbox-pattern": "#57534e",
}  # fmt: skip


def _colour(system: str) -> str:
    return OURS if system.startswith("bus") else THEIRS if system.startswith("celery") else PEERS.get(system, OTHERS)


def throughput(plt: Any, found: dict[str, Any]) -> None:
    """Bars: drain and end to end of every system, ratio to tuned Celery."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    measures = (("drain", "drain of a backlog"), ("e2e", "end to end, 1 producer"))
    for axis, (measure, title) in zip(axes, measures, strict=True):
        rows = [
            row for row in found["results"]
            if row["handler"] == "insert" and row["measure"] == measure and (row["ratio"] or row["system"] == "celery")
        ]  # fmt: skip
        rows.sort(key=lambda row: row["ratio"] or 1.0, reverse=True)
        names = [TITLES.get(row["system"], row["system"]) for row in rows]
        ratios = [row["ratio"] or 1.0 for row in rows]
        spread = [
            [ratio - (row["ratio_min"] or 1.0) for ratio, row in zip(ratios, rows, strict=True)],
            [(row["ratio_max"] or 1.0) - ratio for ratio, row in zip(ratios, rows, strict=True)],
        ]
        colours = [_colour(row["system"]) for row in rows]
        axis.barh(names, ratios, xerr=spread, color=colours, error_kw={"elinewidth": 0.8, "ecolor": "#374151"})
        axis.axvline(1.0, color=THEIRS, linewidth=0.8)
        axis.set_title(f"{title}, x tuned Celery")
        axis.invert_yaxis()
    figure.savefig(PLACE / "performance-throughput.svg", metadata={"Date": None})


def latency(plt: Any, found: dict[str, Any]) -> None:
    """Cumulative distribution of the time from COMMIT to the handler's statement."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    rates = (("latency", "50 orders a second"), ("latency500", "500 orders a second"))
    for axis, (measure, title) in zip(axes, rates, strict=True):
        for curve in found["curves"]:
            if curve["measure"] != measure or curve["handler"] != "insert":
                continue
            system = curve["system"]
            axis.plot(
                curve["ms"], range(101), color=_colour(system), linewidth=2 if system in {"bus", "celery"} else 1,
                label=TITLES.get(system, system), linestyle="--" if system in {"bus-batch", "celery-stock"} else "-",
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xlabel("ms from COMMIT to the handler's statement")
        axis.set_title(title)
    axes[0].set_ylabel("% of orders")
    axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(PLACE / "performance-latency.svg", metadata={"Date": None})


def scaling(plt: Any, found: dict[str, Any]) -> None:
    """Lines: rate by worker processes, relays, consumers and backlog, relative to the first point."""
    figure, axes = plt.subplots(1, len(LINES), figsize=(14, 3.0))
    for axis, (line, title) in zip(axes, LINES.items(), strict=True):
        points = found["lines"].get(line, {})
        xs = [int(x) for x in points]
        rates = [point["rate"] for point in points.values()]
        axis.errorbar(
            xs, [rate["median"] for rate in rates], color=OURS, marker="o", capsize=3,
            yerr=[[rate["median"] - rate["min"] for rate in rates], [rate["max"] - rate["median"] for rate in rates]],
        )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xticks(xs, [f"{x:,}" for x in xs])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=9)
    axes[0].set_ylabel("deliveries/s")
    figure.savefig(PLACE / "performance-scaling.svg", metadata={"Date": None})


def sustained(plt: Any, found: dict[str, Any]) -> None:
    """Lines over time: backlog, size of the hot tables, memory."""
    at = {name: place for place, name in enumerate(found["columns"])}
    minutes = [row[at["seconds"]] / 60 for row in found["samples"]]
    figure, axes = plt.subplots(1, 3, figsize=(12, 2.8))
    shown = (("backlog", "messages waiting"), ("hot_mb", "hot tables, MB"), ("memory_mb", "memory, MB"))
    for axis, (name, title) in zip(axes, shown, strict=True):
        axis.plot(minutes, [row[at[name]] for row in found["samples"]], color=OURS)
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("minutes")
    figure.savefig(PLACE / "performance-sustained.svg", metadata={"Date": None})


DRAWN: dict[str, tuple[Callable[[Any, dict[str, Any]], None], ...]] = {
    "latest": (throughput, latency),
    "scaling": (scaling,),
    "sustained": (sustained,),
}


def draw() -> None:
    """Draw everything of which there are figures."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({
        "svg.hashsalt": "performance", "svg.fonttype": "none", "figure.constrained_layout.use": True, "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False, "savefig.facecolor": "white",
    })  # fmt: skip
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, drawers in DRAWN.items():
        if found := findings.read(name):
            for drawer in drawers:
                drawer(plt, found)


def main() -> None:
    from benchmarks.peers import environment

    environment.ensure()
    subprocess.run([str(environment.PYTHON), "-m", "benchmarks.plots", "--draw"], cwd=ROOT, check=True)


if __name__ == "__main__":
    import sys

    draw() if "--draw" in sys.argv else main()
