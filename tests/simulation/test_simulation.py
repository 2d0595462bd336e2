"""The share of the simulation that runs with the suite; ``make simulate SEEDS=100000`` is the long run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT
from tests.simulation.invariants_of_mutants import BREAKS

SEEDS = 2000


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation in processes of its own: it replaces the clock and the ids of the whole process."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


class TestSimulation:
    def test_finds_nothing_broken(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = simulate("--seeds", str(SEEDS))
        assert result.returncode == 0, result.stdout + result.stderr
        closing = result.stdout.splitlines()[-1]
        assert closing.startswith(f"{SEEDS} seeds, ")
        with capsys.disabled():
            sys.stdout.write(f"\nSimulation: {closing}\n")

    def test_plays_a_seed_the_same_each_time(self) -> None:
        result = simulate("--seed", "7")
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="class")
def found(request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    """Look for all that the tests of this run ask for, on every core: each line tells of one."""
    mine = [item for item in request.session.items if isinstance(item, pytest.Function) and item.cls is request.cls]
    return simulate("--mutants", *(item.callspec.params["safeguard"] for item in mine))


class TestMutants:
    """A simulation that does not notice a missing safeguard proves nothing."""

    @pytest.mark.parametrize("safeguard", BREAKS)
    def test_are_found(
        self, safeguard: str, found: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = [line for line in found.stdout.splitlines() if line.startswith(f"Without the {safeguard}: seed ")]
        assert lines, found.stdout + found.stderr
        broke = lines[0].partition(" breaks ")[2].split(", ")
        assert set(broke) & set(BREAKS[safeguard]), lines[0]
        with capsys.disabled():
            sys.stdout.write(f"\n{lines[0]}\n")
