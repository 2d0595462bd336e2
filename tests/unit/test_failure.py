from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.failure import TRACEBACK_LIMIT, crash_loop, describe, storable


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    else:
        deep(sys.getrecursionlimit())


class TestDescribe:
    def test_names_type_message_and_the_place_in_ones_own_code(self) -> None:
        failure = describe(raised(KeyError("points")), consumer="station.announce")
        assert (failure.type, failure.message) == ("KeyError", "'points'")
        assert failure.location.startswith("tests/unit/test_failure.py:")
        assert failure.location.endswith(" in raised")
        assert "/tests/unit" not in failure.traceback.replace('"tests/unit', "")

    def test_finds_the_innermost_own_frame_below_a_library(self) -> None:
        try:
            json.loads("{")
        except ValueError as error:
            failure = describe(error, consumer="c")
        assert "test_failure.py" in failure.location

    def test_groups_by_consumer_type_and_place_but_not_by_message(self) -> None:
        one = describe(raised(ValueError("order 1")), consumer="a")
        two = describe(raised(ValueError("order 2")), consumer="a")
        assert one.fingerprint == two.fingerprint
        assert describe(raised(ValueError()), consumer="b").fingerprint != one.fingerprint
        assert describe(raised(TypeError()), consumer="a").fingerprint != one.fingerprint

    def test_copes_with_an_error_without_a_traceback(self) -> None:
        assert describe(ValueError("x"), consumer="a").location == ""

    def test_keeps_a_huge_traceback_to_its_limit(self) -> None:
        failure = describe(raised(ValueError("x" * 1_000_000)), consumer="a")
        assert len(failure.traceback) < TRACEBACK_LIMIT + 100
        assert "characters left out" in failure.traceback
        with pytest.raises(RecursionError) as endless:
            deep(5)
        assert describe(endless.value, consumer="a").type == "RecursionError"

    def test_copes_with_an_error_that_cannot_be_printed(self) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert "cannot be had" in describe(raised(Unprintable()), consumer="a").message

    def test_keeps_groups_and_causes(self) -> None:
        group = ExceptionGroup("two", [ValueError("inner"), KeyError("k")])
        assert "inner" in describe(raised(group), consumer="a").traceback


class TestStorable:
    @given(st.text())
    def test_makes_text_that_every_database_keeps(self, text: str) -> None:
        kept = storable(text)
        assert "\x00" not in kept
        kept.encode()

    def test_leaves_other_text_alone(self) -> None:
        assert storable("Größe → 5 €") == "Größe → 5 €"


def test_crash_loop_says_how_often() -> None:
    assert "died 3 times" in crash_loop("a", 3).message
