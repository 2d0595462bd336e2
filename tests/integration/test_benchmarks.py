"""The benchmark still runs: a tiny one, on its own servers, with its files written elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.factories import is_postgresql

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


if is_postgresql():  # it brings its own servers: once is enough

    class TestBenchmark:
        def test_compares_the_bus_with_celery_exactly(self, tmp_path: Path) -> None:
            ended = run("--rounds", "1", "--n", "40", "--measures", "drain", "--output", str(tmp_path))
            assert ended.returncode == 0, ended.stdout + ended.stderr
            document = json.loads((tmp_path / "benchmarks/latest.json").read_text())
            drains = {row["system"]: row for row in document["results"] if row["measure"] == "drain"}
            assert drains["bus"]["ratio"] > 0
            assert drains["celery"]["ratio"] is None
            assert document["failed_checks"] == []
            assert "x tuned Celery" in (tmp_path / "docs/performance.md").read_text()


class TestArguments:
    def test_refuses_an_unknown_measure(self) -> None:
        ended = run("--measures", "luck")
        assert ended.returncode == 2
        assert "--measures: luck is unknown; choose from drain" in ended.stderr
