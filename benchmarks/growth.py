"""``python -m benchmarks.growth``: what grows with history and payload, and how fast the console is beside it.

Costs are CPU milliseconds per event (Python and the database session together), measured in one process in turns with
an empty database, because the clock depends on what else runs. Writes benchmarks/growth.json.
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
from benchmarks.servers import ROOT, Servers

PAYLOADS = {"0.6 KB": 0, "10 KB": 10_000, "1 MB": 900_000}
"""What is added to each event, in bytes; the largest stays below the limit on a body."""
STEPS = ("publish", "relay", "deliver")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--history", type=int, default=1_000_000, help="messages stored before (10000000 takes long)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=1000, help="orders of one round")
    parser.add_argument("--repeats", type=int, default=20, help="requests of each page")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/growth.json")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the servers are taken down
    running = servers.start()
    empty = steps.make_template(running)
    print(f"Storing {arguments.history:,} messages …", file=sys.stderr, flush=True)
    grown = _grow(running, empty, arguments.history)
    print("Measuring …", file=sys.stderr, flush=True)
    found = {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": round(os.getloadavg()[1], 1),
        "stored": arguments.history,
        "rounds": arguments.rounds,
        "n": arguments.n,
        "pages": json.loads(
            steps.inside(running, "--repeats", str(arguments.repeats), database=grown, module="benchmarks.pages")
        ),
        "history": _history(running, {"empty": empty, "stored": grown}, arguments.rounds, arguments.n),
        "payload": {
            name: _costs([steps.measure(running, empty, ["--n", str(200 if padding < 100_000 else 40), "--padding",
                                                         str(padding)])])
            for name, padding in PAYLOADS.items()
        },
    }  # fmt: skip
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _grow(running: Servers, empty: str, rows: int) -> str:
    name = "template_grown"
    steps.fresh_database(running, empty, name)
    steps.inside(running, str(rows), database=name, module="benchmarks.history")
    return name


def _history(running: Servers, templates: dict[str, str], rounds: int, n: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in templates}
    for number in range(rounds):
        for name in list(templates)[:: 1 if number % 2 == 0 else -1]:
            runs[name].append(steps.measure(running, templates[name], ["--n", str(n)]))
    costs = {name: _costs(of) for name, of in runs.items()}
    pairs = zip(runs["empty"], runs["stored"], strict=True)
    # Throughput that is bound by CPU is its inverse: above 1, the one with history is the faster.
    ratios = [_cost(empty["deliver"]) / _cost(stored["deliver"]) for empty, stored in pairs]
    steps_of_empty = {
        step: {key: median(run[step][key] for run in runs["empty"]) for key in runs["empty"][0][step]}
        for step in ("order", "two_orders", *STEPS)
    }
    return {
        "steps": steps_of_empty,
        **costs,
        "deliver_ratio": median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def _costs(runs: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    return {step: round(median(_cost(run[step]) for run in runs), 4) for step in STEPS}


def _cost(step: dict[str, float]) -> float:
    return step["python_ms"] + step["database_ms"]


if __name__ == "__main__":
    main()
