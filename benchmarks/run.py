"""Measure the order workload on this bus and its peers, interleaved, and write the report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, servers
from benchmarks.figures import Run
from benchmarks.findings import ROOT
from benchmarks.measures import MEASURES
from benchmarks.peers import environment as peers
from benchmarks.servers import Servers
from benchmarks.stage import Stuck, open_stage
from benchmarks.systems import REFERENCE, SYSTEMS

HANDLERS = ("insert", "contended", "call")
ELSEWHERE = ROOT / "var/benchmark"
"""Where a run is written that is no whole report: the one of the repository stays."""
QUICK = {
    "rounds": 2, "n": 600, "measures": ["drain", "e2e", "latency", "kill"], "systems": ["bus", REFERENCE],
    "handlers": ["insert"],
}  # fmt: skip
FULL = {"rounds": 10, "n": 3000, "measures": list(MEASURES), "systems": list(SYSTEMS), "handlers": list(HANDLERS)}
PEER_ROUNDS, KILL_ROUNDS = 3, 3
"""Of a full run: how many of its rounds measure what is no target of its own, and takes the longest."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark; the status is 1 when the bus lost or repeated anything, or did not finish."""
    arguments = _arguments(given)
    began = time.monotonic()
    chosen = [SYSTEMS[name] for name in arguments.systems]
    if any(system.is_peer for system in chosen):
        peers.ensure()
    running = servers.start(with_stomp=any(system.needs_stomp for system in chosen))
    runs: list[Run] = []
    is_complete = False
    try:
        _measure(running, arguments, runs)
        is_complete = True
    except KeyboardInterrupt:
        print("\nStopped; the report is about the runs that ended.", flush=True)
    finally:  # whatever ended it: the runs before took hours
        if runs:
            _report(running, arguments, runs, seconds=time.monotonic() - began, is_complete=is_complete)
    ours = [run for run in runs if SYSTEMS[run.system].is_bus]
    return int(any(run.error or run.missing or run.duplicated for run in ours))


def _report(
    running: Servers, arguments: argparse.Namespace, runs: list[Run], *, seconds: float, is_complete: bool
) -> None:
    arguments.rounds = max(run.round + 1 for run in runs)
    conditions = report.conditions(running, arguments, seconds=seconds, is_complete=is_complete)
    summary = report.document(runs, conditions)
    print("\n" + report.table(summary))
    if arguments.add:
        summary = report.added(json.loads((ROOT / "benchmarks/latest.json").read_text()), summary)
    if arguments.output:
        # What broke off is no report: it must not take the place of one.
        report.write(summary, arguments.output if is_complete or arguments.add else ELSEWHERE)


def _measure(running: Servers, arguments: argparse.Namespace, runs: list[Run]) -> None:
    templates = {name: servers.make_template(running, SYSTEMS[name]) for name in arguments.systems}
    for number in range(arguments.rounds):
        for handler in arguments.handlers:
            for measure in arguments.measures:
                # Every other round the other way round, so that none always has the cooler machine.
                for name in arguments.systems if number % 2 == 0 else arguments.systems[::-1]:
                    if not _is_due(arguments, number, handler, measure, name):
                        continue
                    run = _one(running, templates[name], number, handler, measure, name, arguments.n)
                    runs.append(run)
                    print(report.progress(run, arguments.rounds), flush=True)


def _is_due(arguments: argparse.Namespace, number: int, handler: str, measure: str, name: str) -> bool:
    """Say whether this round measures it. What the caller has named himself is measured in each."""
    if arguments.is_chosen:
        return True
    if measure == "kill":  # it waits for rescue, which takes its time
        repeated = arguments.full and name in {"bus", REFERENCE}
        return handler == "insert" and number < (KILL_ROUNDS if repeated else 1) and name != "celery-stock"
    if handler != "insert":
        return name in {"bus", REFERENCE} and measure == "drain"
    return name in {"bus", REFERENCE} or (name == "bus-batch" and measure in {"drain", "e2e"}) or number < PEER_ROUNDS


def _one(running: Servers, template: str, number: int, handler: str, measure: str, name: str, n: int) -> Run:
    chosen = MEASURES[measure]
    orders = chosen.orders(n)
    with open_stage(running, SYSTEMS[name], template=template, handler=handler) as stage:
        try:
            figures, error = chosen.run(stage, orders), ""
        except Stuck as reason:
            figures, error = {}, str(reason)
        missing, duplicated = stage.missing_and_duplicated()
    return Run(
        round=number, handler=handler, measure=measure, system=name, n=orders, figures=figures, missing=missing,
        duplicated=duplicated, error=error, samples=stage.samples,
    )  # fmt: skip


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--full",
        action="store_true",
        help="ten rounds of the targets, three of the peers; without it two rounds, about three minutes",
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--n", type=int, help="orders of one measure; drain takes three times as many, latency half")
    parser.add_argument("--measures", type=_words, help=f"of {', '.join(MEASURES)}, separated by commas")
    parser.add_argument("--systems", type=_words, help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--handlers", type=_words, help=f"of {', '.join(HANDLERS)}")
    parser.add_argument(
        "--output",
        type=Path,
        help="where benchmarks/latest.json and docs/performance.md are written: with --full or --add the repository,"
        " else var/benchmark",
    )
    parser.add_argument(
        "--add", action="store_true", help="keep what the last report has of measures, systems and handlers not named"
    )
    parser.add_argument("--dry", action="store_true", help="print only, write no files")
    arguments = parser.parse_args(given)
    given_output = arguments.output or (ROOT if arguments.full or arguments.add else ELSEWHERE)
    arguments.output = None if arguments.dry else given_output
    arguments.is_chosen = bool(arguments.measures or arguments.systems or arguments.handlers)
    for name, value in (FULL if arguments.full else QUICK).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    for name, known in (("measures", MEASURES), ("systems", SYSTEMS), ("handlers", HANDLERS)):
        unknown = sorted(set(getattr(arguments, name)) - set(known))
        if unknown:
            parser.error(f"--{name}: {', '.join(unknown)} is unknown; choose from {', '.join(known)}")
    if arguments.rounds < 1 or arguments.n < 1:
        parser.error("--rounds and --n must be 1 or more")
    return arguments


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
