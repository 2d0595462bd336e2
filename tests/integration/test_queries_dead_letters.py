"""What operators read about failures: groups, dead letters, what became of a replay, quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import clock
from messaging.queries import dead_letters, quarantine
from messaging.queries.messages import MessageFilter
from tests import rows

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
EVERYTHING = MessageFilter()


@pytest.fixture(autouse=True)
def it_is_noon() -> Iterator[None]:
    clock.install(lambda: NOON)
    yield
    clock.install(None)


class TestFailureGroups:
    def test_counts_unresolved_members_largest_first(self) -> None:
        for number in range(3):
            rows.dead_letter(rows.message(age=number * 60), dead_at=NOON - timedelta(minutes=number))
        rows.dead_letter(rows.message(), fingerprint="b", error_type="Other")
        rows.dead_letter(rows.message(), state="replaying")
        rows.dead_letter(rows.message(), state="resolved")
        first, second = dead_letters.failure_groups()
        assert (first.count, first.replaying, second.count) == (4, 1, 1)
        assert (first.first_at, first.last_at >= NOON) == (NOON - timedelta(minutes=2), True)
        assert sum(first.per_minute) == 4
        assert len(first.per_minute) == 60
        assert dead_letters.get_failure_group("b") == second
        assert dead_letters.get_failure_group("gone") is None

    def test_shows_the_newest_message_of_the_group(self) -> None:
        rows.dead_letter(rows.message(age=60), error_message="old")
        rows.dead_letter(rows.message(age=1), error_message="new")
        [group] = dead_letters.failure_groups()
        assert group.error_message == "new"


class TestDeadLetters:
    def test_lists_unresolved_ones_and_counts_them(self) -> None:
        one = rows.dead_letter(rows.message(key="order 7"))
        rows.dead_letter(rows.message(), state="resolved")
        assert [row.id for row in dead_letters.list_dead_letters(dead_letters.DeadLetterFilter()).rows] == [one.id]
        assert dead_letters.count_dead_letters(dead_letters.DeadLetterFilter(key="order 7")).value == 1
        resolved = dead_letters.DeadLetterFilter(state="resolved")
        assert dead_letters.count_dead_letters(resolved).value == 1

    def test_detail_carries_the_body(self) -> None:
        one = rows.dead_letter(rows.message(body=b"\xff\x00", headers={"x": "1"}))
        found = dead_letters.get_dead_letter(one.id)
        assert found is not None
        assert (found.body, found.headers) == (b"\xff\x00", {"x": "1"})
        assert dead_letters.get_dead_letter(uuid4()) is None

    def test_progress_adds_up(self) -> None:
        made = [
            rows.dead_letter(rows.message(), state=state, resolution=resolution)
            for state, resolution in [
                ("resolved", "replayed"), ("resolved", "failed_again"), ("replaying", ""), ("open", ""),
                ("discarded", "discarded"),
            ]
        ]  # fmt: skip
        found = dead_letters.progress_of([row.id for row in made])
        assert found == dead_letters.Progress(total=5, handled=1, failed_again=1, waiting=1, discarded=1, untouched=1)


class TestQuarantine:
    def test_lists_open_ones_without_their_bytes(self) -> None:
        one = rows.quarantined(b"\xff" * 1000)
        rows.quarantined(kind="parked")
        rows.quarantined(state="discarded")
        with CaptureQueriesContext(connection) as taken:
            [found] = quarantine.list_quarantined(kind="quarantined").rows
        assert (found.id, found.size) == (one.id, 1000)
        assert len(taken) == 1
        assert len(quarantine.list_quarantined(state="").rows) == 3
        assert quarantine.count_open() == {"quarantined": 1, "parked": 1}

    def test_detail_carries_the_bytes(self) -> None:
        one = rows.quarantined(b"\x00\xff")
        found = quarantine.get_quarantined(one.id)
        assert found is not None
        assert found.raw == b"\x00\xff"
        assert quarantine.get_quarantined(uuid4()) is None
