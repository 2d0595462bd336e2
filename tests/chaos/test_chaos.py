"""The share of chaos that runs with the suite; ``make chaos`` runs as long as you like."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.chaos.faults import FAULTS, Fault, schedule
from tests.chaos.ledger import Ledger, read
from tests.chaos.proxy import Frames, is_commit
from tests.conftest import SKIPS_FAIL
from tests.processes import ROOT

OF_RABBITMQ = {"restart RabbitMQ"}
CAP_SYS_ADMIN = 21
"""The number of the right to mount, see capabilities(7)."""
STARTUP = (8).to_bytes(4, "big") + b"\0\3\0\0"


def chaos(out: Path, *arguments: str) -> dict[str, Any]:
    """Run it in a process of its own, and return its report."""
    command = [sys.executable, "-m", "tests.chaos", "--out", str(out), *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def may_mount() -> bool:
    """Say whether this process has the right to mount, whether or not a mount went well."""
    rights = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return os.geteuid() == 0 and rights is not None and bool(int(rights[1], 16) >> CAP_SYS_ADMIN & 1)


@pytest.fixture
def _rabbitmq() -> None:
    """Chaos starts a node of its own, where there is one to start."""
    try:
        servers.rabbitmq_binary()
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


class TestChaos:
    def test_of_every_fault_in_a_minute_loses_nothing_and_does_nothing_twice(
        self, tmp_path: Path, tell: Callable[[str], None]
    ) -> None:
        report = chaos(tmp_path, "--minutes", "0.9", "--shortest", "1.5", "--longest", "3.5")
        assert (report["count"]["lost"], report["count"]["duplicated"], report["count"]["unexpected"]) == (0, 0, 0)
        assert report["violations"] == []
        missing = set(report["left_out"]) - OF_RABBITMQ
        if SKIPS_FAIL:
            assert missing <= (set() if may_mount() else {"full disk"}), report["left_out"]
        struck = {each["fault"] for each in report["struck"]}
        assert len(struck) >= 0.7 * (len(FAULTS) - len(report["left_out"]))
        assert report["count"]["acknowledged"] > 0
        tell(f"Chaos on Redis: {report['verdict']}{', without ' + ', '.join(sorted(missing)) if missing else ''}")

    @pytest.mark.usefixtures("_rabbitmq")
    def test_of_a_broker_that_dies_loses_nothing_on_rabbitmq(self, tmp_path: Path, tell: Callable[[str], None]) -> None:
        report = chaos(
            tmp_path, "--broker", "rabbitmq", "--minutes", "0.4", "--shortest", "4", "--longest", "8",
            "--only", "restart RabbitMQ,kill child",
        )  # fmt: skip
        assert "restart RabbitMQ" in {each["fault"] for each in report["struck"]}
        assert (report["count"]["lost"], report["count"]["duplicated"]) == (0, 0)
        tell(f"Chaos on RabbitMQ: {report['verdict']}")


class TestSchedule:
    def test_of_one_seed_is_always_the_same(self) -> None:
        first, second = (schedule(7, 600, list(FAULTS), shortest=4, longest=14) for _ in range(2))
        assert first == second

    def test_begins_with_each_fault_once(self) -> None:
        plan = schedule(7, 600, list(FAULTS), shortest=4, longest=14)
        assert {fault.name for _, fault, _ in plan[: len(FAULTS)]} == {fault.name for fault in FAULTS}

    def test_strikes_two_hundred_times_in_an_hour(self) -> None:
        for seed in range(20):
            assert len(schedule(seed, 3600, list[Fault](FAULTS), shortest=4, longest=14)) >= 200


class TestFrames:
    @pytest.mark.parametrize("size", [1, 3, 1000])
    def test_find_a_commit_however_the_bytes_arrive(self, size: int) -> None:
        query = b"Q" + (4 + 7).to_bytes(4, "big") + b"COMMIT\0"
        other = b"Q" + (4 + 9).to_bytes(4, "big") + b"SELECT 1\0"
        sent, frames = STARTUP + other + query, Frames()
        found = [each for start in range(0, len(sent), size) for each in frames.feed(sent[start : start + size])]
        assert found == [STARTUP, other, query]
        assert [is_commit(message) for message in found] == [False, False, True]


class TestLedger:
    def test_counts_a_publish_whose_client_died_as_unknown(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger"
        first = Ledger(path)
        first.note(first.try_("plain"), "acknowledged")
        first.try_("flaky")
        first.close()  # the client is killed
        second = Ledger(path)
        second.note(second.try_("plain"), "refused")
        second.close()
        entries = read(path)
        assert entries.with_answer("acknowledged") == {0}
        assert entries.with_answer("unknown") == {1}
        assert entries.with_answer("refused") == {2}
