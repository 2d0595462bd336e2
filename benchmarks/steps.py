"""Run ``benchmarks.inside`` against a fresh database of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import servers
from benchmarks.findings import ROOT
from benchmarks.servers import Servers, environment
from benchmarks.systems import SYSTEMS

BUS = SYSTEMS["bus"]


def make_template(running: Servers) -> str:
    return servers.make_template(running, BUS)


def fresh_database(running: Servers, template: str, name: str = "run") -> None:
    running.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    running.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def inside(running: Servers, *arguments: str, database: str = "run", module: str = "benchmarks.inside") -> str:
    """Run a module in a process of its own and return what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    given = environment(running, BUS, database=database)
    return subprocess.run(command, cwd=ROOT, env=given, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(running: Servers, template: str, arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    fresh_database(running, template)
    return measured(running, "run", arguments)


def measured(running: Servers, database: str, arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure in a database as it is."""
    lines = inside(running, *arguments, database=database).strip().splitlines()
    found: dict[str, dict[str, float]] = json.loads(lines[-1])
    return found


class Serving:
    """A process of ``benchmarks.inside`` with a database of its own that measures a block when it is asked to."""

    def __init__(self, running: Servers, template: str, name: str, *, n: int, **variables: str) -> None:
        fresh_database(running, template, name)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.inside", "--serve", "--n", str(n)], cwd=ROOT,
            env={**environment(running, BUS, database=name), **variables}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmarks.inside ended with status {self._process.wait()}")
        return line

    def block(self) -> dict[str, dict[str, float]]:
        """Return what each step cost."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        found: dict[str, dict[str, float]] = json.loads(self._answer())
        return found

    def end(self) -> None:
        """End the process, which counts what it did.

        Raises:
            SystemExit: not every order was reserved exactly once.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        if status := self._process.wait():
            raise SystemExit(f"benchmarks.inside ended with status {status}")


def main() -> None:
    """Print what each step costs; arguments are those of ``benchmarks.inside``."""
    running = servers.start()
    template = make_template(running)
    fresh_database(running, template)
    print(inside(running, *sys.argv[1:]))


if __name__ == "__main__":
    main()
