"""``python -m benchmarks.growth``: what grows with history and payload, and how fast the console is beside it.

Costs are CPU milliseconds per event (Python and the database session together), measured in one process in turns with
an empty database, because the clock depends on what else runs. Writes benchmarks/growth.json.
"""

from __future__ import annotations

import json
import sys
from statistics import median
from typing import Any

from benchmarks import findings, servers, steps
from benchmarks.servers import Servers

PAYLOADS = {"0.6 KB": 0, "10 KB": 10_000, "1 MB": 900_000}
"""What is added to each event, in bytes; the largest stays below the limit on a body."""
STEPS = ("publish", "relay", "deliver")
PARTS = ("pages", "history", "payload")
GROWN = "grown"


def main() -> None:
    parser = findings.parser("growth", __doc__)
    parser.add_argument("--history", type=int, default=1_000_000, help="messages stored before (10000000 takes long)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=1000, help="orders of one round")
    parser.add_argument("--repeats", type=int, default=20, help="requests of each page")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar=",".join(PARTS),
                        help="measure these; the others stay as they were measured before")  # fmt: skip
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    running = servers.start()
    empty = steps.make_template(running)
    found = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    found |= findings.conditions()
    if set(arguments.only) & {"pages", "history"}:
        print(f"Storing {arguments.history:,} messages …", file=sys.stderr, flush=True)
        _grow(running, empty, arguments.history)
        found["stored"] = arguments.history
    print("Measuring …", file=sys.stderr, flush=True)
    if "pages" in arguments.only:
        given = ("--repeats", str(arguments.repeats))
        found["pages"] = json.loads(steps.inside(running, *given, database=GROWN, module="benchmarks.pages"))
    if "history" in arguments.only:
        found |= {"rounds": arguments.rounds, "n": arguments.n}
        found["history"] = _history(running, empty, arguments.rounds, arguments.n)
    if "payload" in arguments.only:
        found["payload"] = {name: _payload(running, empty, padding) for name, padding in PAYLOADS.items()}
    findings.write(arguments.output, found)
    print(json.dumps(found, indent=1))


def _grow(running: Servers, empty: str, rows: int) -> None:
    steps.fresh_database(running, empty, GROWN)
    steps.inside(running, str(rows), database=GROWN, module="benchmarks.history")


def _history(running: Servers, empty: str, rounds: int, n: int) -> dict[str, Any]:
    """Measure in turns: a fresh copy of the empty database each time, the grown one where it is.

    A copy of ten million messages would take longer than what is measured, and the orders of the rounds before are
    history as well.
    """
    runs: dict[str, list[dict[str, dict[str, float]]]] = {"empty": [], "stored": []}
    given = ["--n", str(n)]
    for number in range(rounds):
        for name in list(runs)[:: 1 if number % 2 == 0 else -1]:
            if name == "empty":
                runs[name].append(steps.measure(running, empty, given))
            else:
                running.execute("TRUNCATE orders, reservations", database=GROWN)  # each round counts its own
                runs[name].append(steps.measured(running, GROWN, given))
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


def _payload(running: Servers, empty: str, padding: int) -> dict[str, float]:
    n = "200" if padding < 100_000 else "40"
    return _costs([steps.measure(running, empty, ["--n", n, "--padding", str(padding)])])


def _costs(runs: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    return {step: round(median(_cost(run[step]) for run in runs), 4) for step in STEPS}


def _cost(step: dict[str, float]) -> float:
    return step["python_ms"] + step["database_ms"]


if __name__ == "__main__":
    main()
