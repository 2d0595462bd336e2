"""``python -m benchmarks.overhead``: what tracing costs at its default sampling, and with every trace recorded.

Each round does the same work in turns without tracing, with it as in production, and with every trace recorded: in one
process, by CPU (Python with the span store's thread, and PostgreSQL), because the clock depends on what else runs.
Writes benchmarks/overhead.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import servers, steps
from benchmarks.servers import ROOT

WITHOUT, DEFAULT, ALL = "without tracing", "one trace of twenty (default)", "every trace"
ARMS = {
    WITHOUT: {"SIGNALBOX_TRACING": "0"},
    DEFAULT: {},
    ALL: {"OTEL_TRACES_SAMPLER_ARG": "1"},
}
STEPS = ("publish", "relay", "deliver")
Costs = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--n", type=int, default=2000, help="orders of one round")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/overhead.json")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the server is taken down
    running = servers.start()
    template = steps.make_template(running)
    runs: dict[str, list[Costs]] = {name: [] for name in ARMS}
    for number in range(arguments.rounds):
        for name in list(ARMS)[:: 1 if number % 2 == 0 else -1]:
            costs = _costs(steps.measure(running, template, ["--n", str(arguments.n)], **ARMS[name]))
            runs[name].append(costs)
            print(f"[{number + 1}/{arguments.rounds}] {name:30} {_line(costs)}", file=sys.stderr, flush=True)
    found = {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": round(os.getloadavg()[1], 1),
        "rounds": arguments.rounds,
        "n": arguments.n,
        "arms": {name: summary(runs[WITHOUT], runs[name]) for name in ARMS},
    }
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _costs(measured: dict[str, dict[str, float]]) -> Costs:
    """Return CPU milliseconds per event of each step and of all; they are also CPU seconds per 1,000 events."""
    costs = {step: measured[step]["python_ms"] + measured[step]["database_ms"] for step in STEPS}
    return {**costs, "all": sum(costs.values())}


def _line(costs: Costs) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in costs.items())


def summary(without: list[Costs], runs: list[Costs]) -> dict[str, Any]:
    """Return medians, and the throughput beside the same round's without tracing: bound by CPU it is the inverse."""
    ratios = [bare["all"] / run["all"] for bare, run in zip(without, runs, strict=True)]
    return {
        **{step: round(median(run[step] for run in runs), 4) for step in (*STEPS, "all")},
        "throughput": round(median(ratios), 4),
        "throughput_min": round(min(ratios), 4),
        "throughput_max": round(max(ratios), 4),
    }


if __name__ == "__main__":
    main()
