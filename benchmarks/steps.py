"""Run ``benchmarks.inside`` against a fresh database of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import servers
from benchmarks.servers import ROOT, Servers
from benchmarks.stage import environment
from benchmarks.systems import SYSTEMS


def make_template(running: Servers) -> str:
    bus = SYSTEMS["bus"]
    given = environment(running, bus, database="", handler="insert", home=running.directory / "home")
    return servers.make_template(running, bus, given)


def fresh_database(running: Servers, template: str, name: str = "run") -> None:
    running.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    running.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def inside(
    running: Servers, *arguments: str, database: str = "run", module: str = "benchmarks.inside", **variables: str
) -> str:
    """Run a module in a process of its own and return what it printed."""
    bus = SYSTEMS["bus"]
    given = environment(running, bus, database=database, handler="insert", home=running.directory / "home")
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**given, **variables}, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def measure(running: Servers, template: str, arguments: Sequence[str], **variables: str) -> dict[str, dict[str, float]]:
    """Return what each step costs on a fresh database; ``variables`` are of the environment."""
    fresh_database(running, template)
    printed = inside(running, *arguments, **variables)
    found: dict[str, dict[str, float]] = json.loads(printed.strip().splitlines()[-1])
    return found


def main() -> None:
    """Print what each step costs; arguments are those of ``benchmarks.inside``."""
    running = servers.start()
    template = make_template(running)
    fresh_database(running, template)
    print(inside(running, *sys.argv[1:]))


if __name__ == "__main__":
    main()
