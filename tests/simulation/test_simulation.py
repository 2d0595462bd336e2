"""The share of the simulation that runs with the suite; ``make simulate SEEDS=100000`` is the long run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT
from tests.simulation.invariants_of_mutants import BREAKS, FIRST_SEEDS

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


class TestMutants:
    """A simulation that does not notice a missing safeguard proves nothing."""

    @pytest.mark.parametrize("safeguard", BREAKS)
    def test_are_found(self, safeguard: str, capsys: pytest.CaptureFixture[str]) -> None:
        first = FIRST_SEEDS.get(safeguard, 1)
        result = simulate("--mutant", safeguard, "--first", str(first), "--seeds", "400", "--most", "1")
        assert result.returncode == 1, result.stdout + result.stderr
        assert any(f"  {invariant} " in result.stdout for invariant in BREAKS[safeguard]), result.stdout
        seed = next(line for line in result.stdout.splitlines() if line.startswith("seed "))
        with capsys.disabled():
            sys.stdout.write(f"\nWithout the {safeguard}: {seed.partition(' (')[0]}\n")
