"""When recurring messages are due: zones, both switches of the clock, what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import ConfigurationError, recurring
from messaging.scheduling.recurring import forget_schedule
from messaging.scheduling.rules import GRACE, LOOKED_AT, Rule, plan
from tests.factories import TrainArrived

BERLIN = "Europe/Berlin"
SPRING = datetime(2026, 3, 29, tzinfo=UTC)
"""On this day 02:00 in Berlin becomes 03:00, at 01:00 UTC."""
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)
"""On this day 03:00 in Berlin becomes 02:00, at 01:00 UTC."""


def due(rule: Rule, after: datetime, count: int) -> list[str]:
    return [f"{moment:%d. %H:%M}" for moment in islice(rule.after(after), count)]


def berlin(cron: str) -> Rule:
    return Rule(cron=cron, zone=BERLIN)


class TestCron:
    def test_goes_by_the_zone_and_is_given_in_utc(self) -> None:
        assert due(berlin("0 3 * * *"), datetime(2026, 1, 10, tzinfo=UTC), 2) == ["10. 02:00", "11. 02:00"]
        assert due(berlin("0 3 * * *"), datetime(2026, 7, 10, tzinfo=UTC), 2) == ["10. 01:00", "11. 01:00"]

    def test_fires_what_the_clocks_jump_over_when_the_gap_ends(self) -> None:
        eve = SPRING - timedelta(hours=12)
        assert due(berlin("30 2 * * *"), eve, 2) == ["29. 01:00", "30. 00:30"]
        assert due(berlin("0,30 2 * * *"), eve, 2) == ["29. 01:00", "30. 00:00"]
        assert due(berlin("0 2,3 * * *"), eve, 2) == ["29. 01:00", "30. 00:00"]

    def test_fires_what_the_clocks_pass_twice_the_first_time_only(self) -> None:
        eve = AUTUMN - timedelta(hours=12)
        assert due(berlin("30 2 * * *"), eve, 2) == ["25. 00:30", "26. 01:30"]

    def test_of_every_half_hour_stays_that_at_both_switches(self) -> None:
        for night in (SPRING, AUTUMN):
            times = list(islice(berlin("*/30 * * * *").after(night), 8))
            assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=30)}

    def test_names_no_past_time_in_the_hour_that_comes_twice(self) -> None:
        second_half_past_two = AUTUMN + timedelta(hours=1, minutes=30)
        assert due(berlin("45 2 * * *"), second_half_past_two, 1) == ["26. 01:45"]

    @given(
        moment=st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        cron=st.sampled_from(["30 2 * * *", "*/7 * * * *", "0 0 1 * *", "15 1-3 * * 0", "0 3 29 2 *"]),
        zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    )
    def test_always_goes_on(self, moment: datetime, cron: str, zone: str) -> None:
        times = [moment, *islice(Rule(cron=cron, zone=zone).after(moment), 5)]
        assert all(earlier < later for earlier, later in pairwise(times))


class TestInterval:
    def test_is_a_multiple_of_itself_whenever_it_is_asked(self) -> None:
        rule = Rule(interval_seconds=900)
        assert due(rule, SPRING + timedelta(minutes=7), 2) == ["29. 00:15", "29. 00:30"]
        assert due(rule, SPRING + timedelta(minutes=15), 1) == ["29. 00:30"]

    @pytest.mark.parametrize(("seconds", "words"), [(15, "15 s"), (900, "15 min"), (5400, "90 min"), (86400, "1 d")])
    def test_is_said_in_words(self, seconds: int, words: str) -> None:
        assert Rule(interval_seconds=seconds).words() == f"Every {words}"


class TestPlan:
    RULE = Rule(interval_seconds=3600)

    def planned(
        self, missed: str, *, hours: int, late: timedelta = timedelta(0), limit: int = 3
    ) -> tuple[list[int], int]:
        now = SPRING + timedelta(hours=hours) + late
        found = plan(self.RULE, due=SPRING, now=now, missed=missed, limit=limit)
        assert found.next_at == SPRING + timedelta(hours=hours + 1)
        return [int((moment - SPRING) / timedelta(hours=1)) for moment in found.fire], found.skipped

    @pytest.mark.parametrize("missed", ["one", "skip", "all"])
    def test_on_time_fires_the_due_time(self, missed: str) -> None:
        assert self.planned(missed, hours=0) == ([0], 0)

    def test_one_fires_the_newest_for_all_that_passed(self) -> None:
        assert self.planned("one", hours=5, late=timedelta(minutes=20)) == ([5], 5)

    def test_skip_fires_none_that_is_late(self) -> None:
        assert self.planned("skip", hours=5, late=timedelta(minutes=20)) == ([], 6)
        assert self.planned("skip", hours=5, late=GRACE) == ([5], 5)

    def test_all_fires_each_up_to_its_limit_the_newest(self) -> None:
        assert self.planned("all", hours=2, late=timedelta(minutes=20)) == ([0, 1, 2], 0)
        assert self.planned("all", hours=5, late=timedelta(minutes=20)) == ([3, 4, 5], 3)

    @pytest.mark.parametrize("rule", [Rule(interval_seconds=1), Rule(cron="* * * * *", zone=BERLIN)])
    def test_after_years_still_fires_the_newest_and_looks_no_further_than_it_must(self, rule: Rule) -> None:
        now = SPRING + timedelta(days=400)
        found = plan(rule, due=SPRING, now=now, missed="all", limit=3)
        step = rule.next_after(now) - now
        assert list(found.fire) == [now - 2 * step, now - step, now]
        assert found.skipped == LOOKED_AT - 3


class TestRecurring:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"cron": "0 25 * * *"}, "never due"),
            ({"cron": "0 3 30 2 *"}, "never due"),
            ({"cron": "soon"}, "five fields"),
            ({"cron": "0 0 3 * * *"}, "five fields"),
            ({}, "one of them"),
            ({"cron": "0 3 * * *", "every": "1m"}, "one of them"),
            ({"every": "100ms"}, "whole number"),
            ({"every": 0}, "at least one"),
            ({"every": "soon"}, "not a duration"),
            ({"every": "1m", "zone": "Europe/Atlantis"}, "Europe/Berlin"),
            ({"every": "1m", "zone": "../../etc"}, "Europe/Berlin"),
            ({"every": "1m", "missed": "some"}, "missed="),
            ({"every": "1m", "missed_limit": 0}, "missed_limit="),
        ],
    )
    def test_refuses_what_can_never_be_due_and_says_why(self, given: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            recurring("station.night", TrainArrived(train="NJ 1"), **given)

    def test_refuses_what_is_no_message(self) -> None:
        with pytest.raises(ConfigurationError, match="needs a message"):
            recurring("station.night", "a train", every="1m")

    def test_reads_the_contract_of_a_function_from_its_annotation(self) -> None:
        def night(due_at: datetime) -> TrainArrived:
            """Tell of the night train."""
            return TrainArrived(train=f"NJ {due_at:%d}")

        try:
            declared = recurring("station.night", night, every="1m")
            assert (declared.type, declared.description) == (TrainArrived.contract_name, "Tell of the night train.")
        finally:
            forget_schedule("station.night")
