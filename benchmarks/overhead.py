"""``python -m benchmarks.overhead``: what tracing costs at its default sampling, and with every trace recorded.

Three processes, each with a database of its own, do the same blocks of work in turns: without tracing, with it as in
production, and with every trace recorded. What counts is CPU (Python with the span store's thread, and PostgreSQL),
because the clock depends on what else runs; short blocks, because the machine changes its mind between long ones.
Writes benchmarks/overhead.json.
"""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from benchmarks import findings, servers, steps
from benchmarks.figures import interval

WITHOUT, DEFAULT, ALL = "without", "default", "all"
ARMS = {WITHOUT: {"SIGNALBOX_TRACING": "0"}, DEFAULT: {}, ALL: {"OTEL_TRACES_SAMPLER_ARG": "1"}}
STEPS = ("publish", "relay", "deliver")
Costs = dict[str, float]


def main() -> None:
    parser = findings.parser("overhead", __doc__)
    parser.add_argument("--blocks", type=int, default=16, help="blocks of each process")
    parser.add_argument(
        "--n", type=int, default=400, help="orders of one block: what is kept at once at a thousand a second"
    )
    arguments = parser.parse_args()
    running = servers.start()
    template = steps.make_template(running)
    serving = {
        name: steps.Serving(running, template, f"run_{name}", n=arguments.n, **variables)
        for name, variables in ARMS.items()
    }
    runs: dict[str, list[Costs]] = {name: [] for name in ARMS}
    for number in range(arguments.blocks):
        for name in list(ARMS)[:: 1 if number % 2 == 0 else -1]:
            runs[name].append(_costs(serving[name].block()))
    for each in serving.values():
        each.end()
    found = {
        **findings.conditions(),
        "blocks": arguments.blocks,
        "n": arguments.n,
        "arms": {name: summary(runs[WITHOUT], runs[name]) for name in ARMS},
    }
    findings.write(arguments.output, found)
    print(json.dumps(found, indent=1))


def _costs(measured: dict[str, dict[str, float]]) -> Costs:
    """Return CPU milliseconds per event of each step and of all; they are also CPU seconds per 1,000 events."""
    costs = {step: measured[step]["python_ms"] + measured[step]["database_ms"] for step in STEPS}
    return {**costs, "all": sum(costs.values())}


def summary(without: list[Costs], runs: list[Costs]) -> dict[str, Any]:
    """Return medians, and the throughput beside the same block's without tracing: bound by CPU it is the inverse."""
    ratios = [bare["all"] / run["all"] for bare, run in zip(without, runs, strict=True)]
    low, high = interval(ratios)
    return {
        **{step: round(median(run[step] for run in runs), 4) for step in (*STEPS, "all")},
        "throughput": round(median(ratios), 4), "low": low, "high": high,
        "min": round(min(ratios), 4), "max": round(max(ratios), 4),
    }  # fmt: skip


if __name__ == "__main__":
    main()
