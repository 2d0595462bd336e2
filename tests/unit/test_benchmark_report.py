"""What a benchmark's report says of its runs, and where it is written."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report, run, targets
from benchmarks.figures import Run
from benchmarks.findings import ROOT
from benchmarks.measures import FIGURES, MEASURES
from benchmarks.stage import Span


def ran(measure: str, system: str, number: int = 0, *, error: str = "", **figures: float) -> Run:
    return Run(
        round=number, handler="insert", measure=measure, system=system, n=10, figures=figures, missing=0, duplicated=0,
        error=error,
    )  # fmt: skip


def document(*runs: Run, is_complete: bool = True) -> dict[str, Any]:
    return report.document(runs, {
        "at": "now", "load": 1.0, "rounds": 2, "n": 10, "orders": {}, "seconds": 1, "is_complete": is_complete,
        "measures": ["drain", "kill"], "systems": ["bus", "celery"], "handlers": ["insert"],
    })  # fmt: skip


def values(found: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(row["measure"], row["system"]): row["median"] for row in found["results"]}


class TestAdded:
    BEFORE = document(
        ran("drain", "bus", drain=10), ran("drain", "celery", drain=5),
        ran("kill", "bus", missing=0, duplicated=0, settled_after=3), ran("kill", "celery", error="stuck"),
    )  # fmt: skip

    def test_puts_what_is_new_in_the_place_of_the_same(self) -> None:
        found = report.added(self.BEFORE, document(ran("drain", "bus", drain=12)))
        assert values(found)["drain", "bus"] == 12
        assert values(found)["drain", "celery"] == 5

    def test_leaves_no_figure_of_a_run_that_was_replaced(self) -> None:
        found = report.added(self.BEFORE, document(ran("kill", "bus", missing=1, duplicated=0)))
        assert ("settled_after", "bus") not in values(found)

    def test_forgets_the_failure_of_a_run_that_was_replaced(self) -> None:
        assert self.BEFORE["failed_checks"] == ["insert kill celery: stuck"]
        found = report.added(self.BEFORE, document(ran("kill", "celery", missing=0, duplicated=0)))
        assert found["failed_checks"] == []
        assert found["checked_runs"] == 4

    def test_leaves_no_figure_of_a_run_that_failed_when_it_was_measured_again(self) -> None:
        found = report.added(self.BEFORE, document(ran("drain", "bus", error="stuck")))
        assert ("drain", "bus") not in values(found)
        assert "insert drain bus: stuck" in found["failed_checks"]

    def test_keeps_the_failure_of_another_run(self) -> None:
        found = report.added(self.BEFORE, document(ran("drain", "celery", drain=6)))
        assert found["failed_checks"] == ["insert kill celery: stuck"]

    def test_says_how_many_rounds_an_interrupted_one_came_to(self) -> None:
        runs = (ran("drain", "bus", drain=12), ran("drain", "bus", 1, drain=13), ran("drain", "celery", drain=6))
        found = report.added(self.BEFORE, document(*runs, is_complete=False))
        assert found["conditions"]["added"][0]["counted"] == {"drain": 1, "kill": 0}


class TestFigures:
    def test_are_each_of_a_measure(self) -> None:
        assert {figure.of for figure in FIGURES.values()} == set(MEASURES)


class TestPages:
    @pytest.mark.parametrize(("status", "state"), [(200, "met"), (302, "met"), (500, "**missed**")])
    def test_are_missed_when_one_answers_with_an_error(self, status: int, state: str) -> None:
        pages = {
            "one": {"p95_ms": 20.0, "queries": 5, "status": 200},
            "other": {"p95_ms": 1.0, "queries": 1, "status": status},
        }
        found = targets.verdicts([], {"stored": targets.HISTORY, "pages": pages}, None, None)
        (verdict,) = [one for one in found if one.title.startswith("any console page")]
        assert verdict.state == state
        assert ("other: 500" in verdict.figure) == (status == 500)


class TestSpan:
    def test_counts_what_came_after_the_first_moment(self) -> None:
        assert Span(first=10.0, last=12.0, count=100).rate == 50.0

    def test_tells_no_rate_of_one_moment(self) -> None:
        assert Span(first=10.0, last=10.0, count=0).rate == 0.0


class TestOutput:
    @pytest.mark.parametrize(
        ("given", "place"),
        [
            ([], run.ELSEWHERE),
            (["--full"], ROOT),
            (["--add", "--measures", "drain"], ROOT),
            (["--full", "--dry"], None),
        ],
    )
    def test_leaves_the_report_to_whole_runs_and_additions(self, given: list[str], place: object) -> None:
        assert run._arguments(given).output == place
