"""Run the whole test suite: on SQLite, on PostgreSQL with Redis, and against real processes.

Arguments go to every pytest run. The closing lines say what was skipped and why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bootstrap import ROOT

PARALLEL = ["-n", "2"]
RUNS: dict[str, tuple[str, list[str]]] = {
    "SQLite": ("sqlite", ["tests/unit", "tests/integration", "tests/stateful", *PARALLEL]),
    "PostgreSQL+Redis": ("postgresql", ["tests/integration", "tests/stateful", *PARALLEL]),
    # One at a time: real processes under load, kills and a browser leave no core for a second test.
    "processes": (
        "sqlite",
        ["tests/conformance", "tests/acceptance", "tests/sweep", "tests/chaos", "tests/simulation"],
    ),
}
NO_TESTS = 5  # pytest's exit status when -k matched nothing in this run


def main() -> int:
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="signalbox-suite-") as directory:
        for name, (database, arguments) in RUNS.items():
            report = Path(directory) / name
            print(f"\n── {name} ──", flush=True)
            status = run(database, [*arguments, *sys.argv[1:]], report)
            if status in (2, 130):  # interrupted
                return status
            results[name] = {"status": 0 if status == NO_TESTS else status, **read(report)}
    print_closing_lines(results)
    return max(int(result["status"]) for result in results.values())


def run(database: str, arguments: list[str], report: Path) -> int:
    environment = {**os.environ, "TEST_DATABASE": database, "SIGNALBOX_TEST_REPORT": str(report)}
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


def read(report: Path) -> dict[str, Any]:
    if not report.exists():
        return {"passed": 0, "failed": 0, "error": 0, "skipped": []}
    result: dict[str, Any] = json.loads(report.read_text())
    return result


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
