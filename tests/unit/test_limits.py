"""Breakers, buckets and who may claim: pure, on a clock that the test holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import Breaker, ConfigurationError, Rate
from messaging.limits import Bucket, Circuit, Hold, Pass, Seen, admit, observed, with_probe, without_probe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINE, OTHER = UUID(int=1), UUID(int=2)
WORKER = UUID(int=9)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def see(circuit: Circuit, breaker: Breaker, *steps: str, token: UUID = MINE, now: datetime = NOW) -> Circuit:
    for step in steps:
        circuit = observed(circuit, breaker, Seen(ok=step.count("+"), failed=step.count("-")), token=token, now=now)
    return circuit


def may(circuit: Circuit, *, is_probed: bool = False, now: datetime = NOW) -> object:
    return admit(
        wanted=10, circuits=[(circuit, is_probed)], bucket=Bucket(), rate=None, concurrency=None, running=0, now=now
    )  # fmt: skip


class TestBreaker:
    def test_opens_after_failures_in_a_row(self) -> None:
        breaker = Breaker(failures=3)
        assert see(Circuit(), breaker, "-", "-").standing(NOW) == "closed"
        assert see(Circuit(), breaker, "-", "-", "-").standing(NOW) == "open"

    def test_forgets_failures_at_a_success(self) -> None:
        assert see(Circuit(), Breaker(failures=3), "-", "-", "+", "-", "-", "+-").standing(NOW) == "closed"

    def test_opens_on_a_failure_rate_once_enough_was_seen(self) -> None:
        breaker = Breaker(failures=None, rate=0.5, minimum=10)
        assert see(Circuit(), breaker, *("+-" * 4)).standing(NOW) == "closed"
        assert see(Circuit(), breaker, *("+-" * 5)).standing(NOW) == "open"

    def test_forgets_what_is_older_than_its_window(self) -> None:
        breaker = Breaker(failures=None, rate=0.5, minimum=10, window="1m")
        circuit = see(Circuit(), breaker, *("-" * 9))
        assert see(circuit, breaker, "-", now=later(61)).standing(later(61)) == "closed"
        assert see(circuit, breaker, "-", now=later(40)).standing(later(40)) == "open"

    def test_lets_one_probe_pass_when_its_time_is_over(self) -> None:
        circuit = see(Circuit(), Breaker(failures=1, open_for="30s"), "-")
        assert may(circuit) == Hold(by="breaker", until=later(30))
        assert may(circuit, now=later(30)) == Pass(limit=1, is_probe=True)
        assert may(circuit, is_probed=True, now=later(31)) == Hold(by="breaker", until=later(30))

    def test_is_closed_by_its_probe_only(self) -> None:
        breaker = Breaker(failures=1)
        probing = with_probe(see(Circuit(), breaker, "-"), token=MINE, worker=WORKER, now=later(30))
        assert see(probing, breaker, "+", token=OTHER, now=later(31)) == probing
        assert see(probing, breaker, "+", token=MINE, now=later(31)) == Circuit()

    def test_opens_again_when_the_probe_fails(self) -> None:
        breaker = Breaker(failures=1, open_for="30s")
        probing = with_probe(see(Circuit(), breaker, "-"), token=MINE, worker=WORKER, now=later(30))
        again = see(probing, breaker, "-", now=later(31))
        assert (again.opened_at, again.open_until, again.probe_token) == (NOW, later(61), None)

    def test_waits_for_a_person_when_a_person_opened_it(self) -> None:
        tripped = Circuit(opened_at=NOW, opened_by="ana")
        assert may(tripped, now=later(1e6)) == Hold(by="breaker", until=None)
        assert see(tripped, Breaker(), "+") == tripped

    def test_sends_another_probe_when_one_told_nothing(self) -> None:
        probing = with_probe(see(Circuit(), Breaker(failures=1), "-"), token=MINE, worker=WORKER, now=later(30))
        assert without_probe(probing, OTHER) == probing
        assert without_probe(probing, MINE).probe_token is None

    @pytest.mark.parametrize(
        "wrong", [{"failures": None}, {"failures": 0}, {"rate": 1.5}, {"minimum": 0}, {"open_for": "0s"}]
    )
    def test_refuses_nonsense_when_it_is_declared(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            Breaker(**wrong)


class TestRate:
    def test_lets_a_burst_pass_and_then_as_much_as_comes_in(self) -> None:
        rate, bucket = Rate(10, per="1s", burst=5), Bucket()
        bucket = bucket.taken(rate, 5, NOW)
        assert bucket.filled(rate, NOW) == 0
        assert bucket.next_at(rate, NOW) == later(0.1)
        assert bucket.filled(rate, later(0.3)) == pytest.approx(3)
        assert bucket.filled(rate, later(60)) == 5

    @given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60))
    def test_never_lets_more_pass_than_burst_and_time_allow(self, steps: list[tuple[float, int]]) -> None:
        rate, bucket, now, passed = Rate(7, per="1s", burst=20), Bucket(), NOW, 0
        for wait, wanted in steps:
            now += timedelta(seconds=wait)
            match admit(wanted=wanted, circuits=[], bucket=bucket, rate=rate, concurrency=None, running=0, now=now):
                case Pass(limit=limit):
                    passed += limit
                    bucket = bucket.taken(rate, limit, now)
        assert passed <= 20 + 7 * (now - NOW).total_seconds() + 1e-6

    def test_gains_nothing_from_a_clock_that_goes_back(self) -> None:
        rate = Rate(10, per="1s", burst=5)
        empty = Bucket().taken(rate, 5, NOW)
        back = empty.taken(rate, 0, later(-3600))
        assert back.filled(rate, NOW) == 0

    def test_refuses_nonsense_when_it_is_declared(self) -> None:
        with pytest.raises(ConfigurationError, match="above 0"):
            Rate(0)
        with pytest.raises(ConfigurationError, match="above 0"):
            Rate(1, per="0s")
        with pytest.raises(ConfigurationError, match="burst"):
            Rate(1, burst=0)


class TestConcurrency:
    def test_holds_who_comes_when_all_places_are_taken(self) -> None:
        def at(running: int) -> object:
            return admit(
                wanted=10, circuits=[], bucket=Bucket(), rate=None, concurrency=2, running=running, now=NOW
            )  # fmt: skip

        assert at(1) == Pass(limit=10)
        assert at(2) == at(3) == Hold(by="concurrency")
