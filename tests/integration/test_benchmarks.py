"""The benchmark still runs: a tiny one, on its own servers, with its files written elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.browsing import parts_of
from tests.factories import is_postgresql

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*arguments: str, module: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
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

    def test_refuses_an_unknown_part(self) -> None:
        ended = run("luck", module="benchmarks.whole")
        assert ended.returncode == 2
        assert "luck is unknown; choose from limit, orders" in ended.stderr

    @pytest.mark.parametrize("field", ["browsers", "rate", "seconds"])
    def test_refuses_a_live_feed_of_nothing(self, field: str) -> None:
        ended = run(f"--{field}", "0", module="benchmarks.livefeed")
        assert ended.returncode == 2
        assert f"--{field} must be 1 or more" in ended.stderr


class TestWhole:
    def test_goes_on_after_a_part_that_failed(self) -> None:
        code = "from benchmarks import whole; print(whole.measure({'bad': ('no_such_module',), 'good': ('this',)}))"
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
        )
        assert "Zen of Python" in ended.stdout
        assert ended.stdout.splitlines()[-1] == "['bad']"


PAGE = """<tbody id="rows" hx-get="?upto=7&amp;type=a" hx-trigger="changed:messages from:body throttle:3s,
changed:dead_letters from:body throttle:500ms, every 15s" hx-target="this" hx-swap="outerHTML"><tr><td>
<input hx-post="/check" hx-trigger="input changed delay:350ms"></td></tr></tbody>
<div id="consumer" hx-get="?" hx-vals='{"held": "no"}' hx-trigger="changed:any from:body" hx-swap="morph:outerHTML">"""


class TestSimulatedBrowser:
    def test_finds_the_parts_that_read_themselves_again(self) -> None:
        rows, consumer = parts_of(PAGE)
        assert (rows.id, rows.address, rows.is_morphed, rows.every) == ("rows", "?upto=7&type=a", False, 15.0)
        assert rows.events == {"changed:messages": 3.0, "changed:dead_letters": 0.5}
        assert (consumer.values, consumer.is_morphed, consumer.every) == ({"held": "no"}, True, None)
        assert consumer.events == {"changed:any": 0.0}
