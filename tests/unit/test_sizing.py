from __future__ import annotations

import pytest

from messaging.database.sqlite import SqliteStore
from messaging.delivery import sizing
from messaging.delivery.sizing import Sizer
from messaging.settings import options


@pytest.fixture(autouse=True)
def _on_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size as on PostgreSQL, where other writers go on beside an open transaction."""
    there = SqliteStore()
    there.hint_is_local = False
    monkeypatch.setattr(sizing, "store", lambda: there)


def used(microseconds: int, *, times: int = 200) -> Sizer:
    """Return a sizer that has seen many handlers of this duration succeed."""
    sizer = Sizer()
    for _ in range(times):
        sizer.note(microseconds)
        sizer.went_well()
    return sizer


class TestSizer:
    def test_takes_many_quick_ones_at_once(self) -> None:
        assert used(50).limit() == options().chunk_limit

    def test_fits_the_slice(self) -> None:
        assert used(5_000).limit() == int(options().chunk_seconds * 1_000_000 / 5_000)

    def test_runs_slow_ones_alone(self) -> None:
        assert used(10_000_000).limit() == 1

    def test_takes_less_where_a_writer_stops_all_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on_server = used(2_000).limit()
        embedded = SqliteStore()
        monkeypatch.setattr(sizing, "store", lambda: embedded)
        assert used(2_000).limit() < on_server

    def test_shrinks_after_a_rollback_and_grows_back(self) -> None:
        sizer = used(50)
        sizer.shrink()
        assert sizer.limit() == options().chunk_limit // 2
        for _ in range(10):
            sizer.went_well()
        assert sizer.limit() == options().chunk_limit

    def test_never_falls_below_one(self) -> None:
        sizer = used(50)
        for _ in range(50):
            sizer.shrink()
        assert sizer.limit() == 1


class TestGivingWay:
    def test_happens_a_few_times_in_a_row_and_then_smaller_chunks_are_tried(self) -> None:
        sizer = Sizer()
        assert [sizer.may_give_way() for _ in range(5)] == [True, True, True, True, False]

    def test_starts_over_after_a_chunk_went_well(self) -> None:
        sizer = Sizer()
        for _ in range(4):
            sizer.may_give_way()
        sizer.went_well()
        assert sizer.may_give_way()
