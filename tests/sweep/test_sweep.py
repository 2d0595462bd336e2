"""The share of the crash sweep that runs with the suite; ``make sweep`` runs the whole of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.processes import ROOT
from tests.sweep.databases import PostgreSQL
from tests.sweep.mutants import MUTANTS

WHERE_IT_SHOWS = {
    "fence": "outside.call",
    "outbox delete": "nowhere",
    "rescue": "nowhere",
    "confirm": "wake.taken",
    "follow-ups": "nowhere",
    "compensation": "nowhere",
    "failure count": "nowhere",
    "counts": "nowhere",
    "audit": "nowhere",
    "request id": "pause_drained.committed",
}
"""Where a process must be killed or frozen for it to show ("confirm" needs a wake-up that is lost), or nowhere."""

ROLES_DIE_AT = (
    "relay.before", "claim.after", "failure.commit", "relay.after", "settle.before", "outside.call", "wake.before",
    "claim.before", "chunk.committed", "settle.after",
)  # fmt: skip
"""Where a relay or a worker's child dies, a few each day: a run costs seconds, as real processes start."""

TEMPLATE = f"sweep_{uuid4().hex[:12]}"
"""Of all sweeps of this run: preparing it costs more than a kill."""
MANY_DEATHS = "12"
"""In a run; what claims of the dead it begins with depends on it, so these have a template of their own."""


def places_of_today() -> list[str]:
    first = int(time.time() // 86400) * 3
    return [ROLES_DIE_AT[(first + n) % len(ROLES_DIE_AT)] for n in range(3)]


def sweep_in_turn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return sweep("--in-turn", MANY_DEATHS, *arguments, template=f"{TEMPLATE}_{MANY_DEATHS}")


def sweep(*arguments: str, template: str = TEMPLATE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the sweep in a process of its own: it forks, and pytest has threads."""
    command = [sys.executable, "-m", "tests.sweep", "--template", template, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def show_counts(
    title: str, result: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str], *, of: str = "kills"
) -> None:
    """Print the counts, and demand that somebody died (and froze): else they say nothing."""
    counts = result.stdout.splitlines()[-1]
    for what in of.split():
        assert re.search(rf" [1-9]\d* {what}", counts), result.stdout
    with capsys.disabled():
        sys.stdout.write(f"\n{title}: {counts}\n")


@pytest.fixture(scope="module", autouse=True)
def template(postgresql: str) -> Iterator[None]:
    yield
    for name in (TEMPLATE, f"{TEMPLATE}_{MANY_DEATHS}"):
        PostgreSQL(postgresql, name).drop(name)


@pytest.mark.usefixtures("postgresql", "redis_url")
class TestSweepOnPostgreSQLAndRedis:
    def test_finds_nothing_broken_at_the_first_hit_of_any_failpoint_and_some_later_ones(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = sweep_in_turn("--later-share", "0.1", "--frozen-share", "0.05")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "reached nowhere: none" in result.stdout, result.stdout
        assert "0 lost, 0 duplicated, broken invariants: none" in result.stdout
        show_counts("Sweep", result, capsys, of="kills freezes")

    def test_finds_that_a_frozen_rescuer_keeps_nothing_from_the_next(self) -> None:
        result = sweep("--first", "--only", "rescue.one")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "1 kills, 1 freezes" in result.stdout

    @pytest.mark.parametrize("safeguard", MUTANTS)
    def test_finds_that_a_safeguard_is_missing(self, safeguard: str, capsys: pytest.CaptureFixture[str]) -> None:
        result = sweep("--first", "--mutant", safeguard, "--only", WHERE_IT_SHOWS[safeguard], SWEEP_PATIENCE="5")
        assert result.returncode == 1, result.stdout + result.stderr
        broken = re.findall(r"^  (.+?): (I\d+) ", result.stdout, re.MULTILINE)
        found = [(fault, invariant) for fault, invariant in broken if invariant in MUTANTS[safeguard][1]]
        assert found, result.stdout
        with capsys.disabled():
            sys.stdout.write(f"\nSweep without the {safeguard}, {found[0][0]}: breaks {found[0][1]}\n")


@pytest.mark.usefixtures("postgresql", "redis_url", "rabbitmq")
class TestSweepOnRabbitMQ:
    def test_finds_nothing_broken_at_a_share_of_the_failpoints_that_changes_daily(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = sweep_in_turn("--setup", "rabbitmq", "--first", "--share", "0.1", "--frozen-share", "0.1")
        assert result.returncode == 0, result.stdout + result.stderr
        show_counts("Sweep on RabbitMQ", result, capsys, of="kills freezes")


@pytest.mark.usefixtures("postgresql", "redis_url")
class TestSweepOfRealRoles:
    def test_finds_nothing_broken_when_a_celery_child_or_a_relay_dies(self, capsys: pytest.CaptureFixture[str]) -> None:
        places = ["chunk.commit", *places_of_today()]
        result = sweep("--setup", "roles", "--only", " ".join(places))
        assert result.returncode == 0, result.stdout + result.stderr
        assert f" {len(places)} kills" in result.stdout, result.stdout
        show_counts(f"Sweep of roles at {', '.join(places)}", result, capsys)


class TestSweepOfTheEmbeddedSetUp:
    def test_finds_nothing_broken_at_a_share_of_the_failpoints_that_changes_daily(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = sweep_in_turn("--setup", "embedded", "--first", "--share", "0.15")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "reached nowhere: none" in result.stdout, result.stdout
        show_counts("Sweep of the embedded process", result, capsys)
