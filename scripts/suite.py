"""Run the whole test suite: on SQLite, on PostgreSQL with Redis, and against real processes.

Arguments go to every pytest run. The closing lines say what was skipped and why.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from bootstrap import ROOT

PARALLEL = ["-n", "2"]
RUNS: dict[str, tuple[str, list[str]]] = {
    "SQLite": ("sqlite", ["tests/unit", "tests/integration", "tests/stateful", *PARALLEL]),
    "PostgreSQL+Redis": ("postgresql", ["tests/integration", "tests/stateful", *PARALLEL]),
    # One at a time: real processes under load, kills and a browser leave no core for a second test.
    "processes": ("sqlite", ["tests/conformance", "tests/acceptance"]),
    "chaos": ("sqlite", ["tests/chaos"]),
    # First what waits a lot, then what takes every core that is free.
    "sweep and simulation": ("sqlite", ["tests/sweep", "tests/simulation", "-p", "no:randomly"]),
}
STAGES = [["SQLite"], ["PostgreSQL+Redis"], ["processes", "chaos", "sweep and simulation"]]
"""Runs of one stage run side by side."""
NICENESS = {"sweep and simulation": 4}
"""Runs that take what the others leave idle. Nicer, and the sweep's processes would wait too long for one another."""
NO_TESTS = 5  # pytest's exit status when -k matched nothing in this run


def main() -> int:
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="signalbox-suite-") as directory:
        for names in STAGES:
            statuses = run_stage(names, Path(directory))
            if interrupted := statuses & {2, 130}:
                return max(interrupted)
            results |= {name: read(Path(directory) / name) for name in names}
    print_closing_lines(results)
    return max(abs(int(result["status"])) for result in results.values())


def run_stage(names: list[str], directory: Path) -> set[int]:
    """Run the stage's runs; the output of the first comes as it is made, that of the others when they have ended."""
    first, *others = names
    printed = {name: (directory / f"{name}.out").open("w+") for name in others}
    running = {name: start(name, directory, output=printed[name]) for name in others}
    print(f"\n── {first} ──", flush=True)
    running[first] = start(first, directory)
    try:
        statuses = {name: running[name].wait() for name in names}
    except KeyboardInterrupt:
        for name in NICENESS.keys() & running.keys():
            with suppress(ProcessLookupError):
                os.killpg(running[name].pid, signal.SIGINT)  # the terminal interrupts its own session only
        for process in running.values():
            process.wait()
        return {130}
    for name, output in printed.items():
        output.seek(0)
        print(f"\n── {name} ──\n{output.read()}", flush=True)
        output.close()
    for name, status in statuses.items():
        (directory / f"{name}.status").write_text(str(0 if status == NO_TESTS else status))
    return set(statuses.values())


def start(name: str, directory: Path, *, output: Any = None) -> subprocess.Popen[bytes]:
    database, arguments = RUNS[name]
    niceness = NICENESS.get(name)
    environment = {**os.environ, "TEST_DATABASE": database, "SIGNALBOX_TEST_REPORT": str(directory / name)}
    command = [sys.executable, "-m", "pytest", "-q", *arguments, *sys.argv[1:]]
    if niceness is None:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    ending = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    process = subprocess.Popen(
        [*ending, "nice", "-n", str(niceness), *command],
        cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True,
    )  # fmt: skip
    # Linux gives each session an equal share (autogroups): in ours it would be nice to nobody but us.
    with suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text(str(niceness))
    return process


def read(report: Path) -> dict[str, Any]:
    status = int(report.with_name(f"{report.name}.status").read_text())
    if not report.exists():
        return {"passed": 0, "failed": 0, "error": 0, "skipped": [], "status": status}
    return {**json.loads(report.read_text()), "status": status}


def print_closing_lines(results: dict[str, dict[str, Any]]) -> None:
    skipped = [line for result in results.values() for line in result["skipped"]]
    if skipped:
        print("\nSkipped, and why:", *skipped, sep="\n  ")
    print()
    for name, result in results.items():
        print(f"{name}: {counts([result])}" + (f"   (exit status {result['status']})" if result["status"] else ""))
    print(f"total: {counts(list(results.values()))}", flush=True)


def counts(results: list[dict[str, Any]]) -> str:
    passed = sum(result["passed"] for result in results)
    failed = sum(result["failed"] + result["error"] for result in results)
    return f"{passed} passed, {failed} failed, {sum(len(result['skipped']) for result in results)} skipped"


if __name__ == "__main__":
    sys.exit(main())
