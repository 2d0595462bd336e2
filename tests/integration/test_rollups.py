"""Counters equal a recount, whoever folds and however often."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, get_args

import pytest
from django.db.models import Sum

from messaging import Context, PermanentError, Retry, RetryLater
from messaging.database import store
from messaging.models import Attempt, Rollup, RollupDelta, Total, TypeTotal
from messaging.recount import wrong_counters
from messaging.rollups import Kind, bucket_of, fold, histogram
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import ANNOUNCE, TrainArrived, arrive, elsewhere

pytestmark = pytest.mark.django_db(transaction=True)


def mixed(event: TrainArrived, context: Context) -> None:
    kind = event.train.split()[0]
    if kind == "broken":
        raise PermanentError
    if kind == "shaky" and context.attempt < 3:
        raise ValueError
    if kind == "ignored":
        raise KeyError
    if kind == "late":
        raise RetryLater(after=3600)


@pytest.fixture
def traffic(station: Any) -> None:
    station.declare(mixed, retry=Retry(ignore=(KeyError,)))
    kinds = {"fine": 40, "broken": 5, "shaky": 4, "ignored": 3, "late": 2}
    arrive(*(f"{kind} {n}" for kind, count in kinds.items() for n in range(count)))
    run_until_idle()


def recount() -> Counter[str]:
    return Counter(Attempt.objects.filter(consumer=ANNOUNCE).values_list("outcome", flat=True))


def sums(model: Any) -> dict[str, int]:
    rows = (
        model.objects.filter(consumer=ANNOUNCE)
        .exclude(outcome="relayed")
        .values_list("outcome")
        .annotate(n=Sum("count"))
    )
    return dict(rows.order_by())


class TestFold:
    def test_equals_a_recount(self, traffic: None) -> None:
        while fold(limit=3):
            pass
        expected = recount()
        assert expected["handled"] == 44
        assert sums(Rollup) == sums(Total) == expected
        assert not RollupDelta.objects.exists()
        assert Total.objects.get(consumer="", outcome="published").count == 54

    def test_is_found_out_by_the_recount_where_it_differs(self, traffic: None) -> None:
        assert list(wrong_counters()) == []  # also while some deltas are not folded yet
        fold()
        assert list(wrong_counters()) == []
        Rollup.objects.filter(consumer=ANNOUNCE, outcome="handled").update(count=43)
        Rollup.objects.filter(consumer=ANNOUNCE, outcome="ignored").delete()
        assert list(wrong_counters()) == [
            f"{ANNOUNCE}: 43 times handled in the roll-ups, 44 in history",
            f"{ANNOUNCE}: 0 times ignored in the roll-ups, 3 in history",
        ]
        assert not verify(with_counters=True).is_sound

    def test_is_recounted_from_the_first_day_that_retention_left_whole(self, traffic: None) -> None:
        fold()
        long_ago = store().now() - timedelta(days=3)
        Rollup.objects.create(
            minute=long_ago, consumer=ANNOUNCE, outcome="handled", count=9, duration_us=0, critical_us=0, buckets={}
        )
        assert list(wrong_counters()) == []

    def test_keeps_time_and_histogram_in_step_with_the_count(self, traffic: None) -> None:
        duration = Attempt.objects.aggregate(sum=Sum("duration_us"))["sum"]
        fold()
        assert sum(Total.objects.values_list("duration_us", flat=True)) == duration
        for model in (Rollup, Total):
            executed = model.objects.exclude(consumer="").exclude(outcome="relayed")
            for count, buckets in executed.values_list("count", "buckets"):
                for kind in get_args(Kind):
                    assert sum(histogram(buckets, kind).values()) == count
                assert sum(buckets.values()) == 3 * count

    def test_counts_by_type_what_it_counts(self, traffic: None) -> None:
        while fold(limit=3):
            pass
        of_type = TypeTotal.objects.filter(type=TrainArrived.contract_name)
        assert dict(of_type.filter(consumer=ANNOUNCE).values_list("outcome", "count")) == recount()
        assert of_type.get(consumer="").count == 54

    def test_counts_what_the_relay_made(self, traffic: None) -> None:
        fold()
        assert Total.objects.get(consumer=ANNOUNCE, outcome="relayed").count == 54

    def test_counts_each_delta_once_when_four_fold_at_once(self, traffic: None) -> None:
        expected = recount()

        def fold_all() -> int:
            return sum(iter(lambda: fold(limit=2), 0))

        folding = [elsewhere(fold_all) for _ in range(4)]
        assert sum(future.result(60) for future in folding) > 0
        while fold():
            pass
        assert sums(Rollup) == sums(Total) == expected

    def test_keeps_minutes_apart(self, traffic: None) -> None:
        first = RollupDelta.objects.order_by("id").first()
        assert first is not None
        RollupDelta.objects.filter(id=first.id).update(minute=first.minute - timedelta(minutes=1))
        fold()
        assert Rollup.objects.values("minute").distinct().count() == 2
        assert sums(Rollup) == recount()

    def test_has_nothing_to_do_twice(self, traffic: None) -> None:
        assert fold() > 0
        assert fold() == 0

    def test_is_not_counted_for_a_delivery_that_rolled_back(self, station: Any) -> None:
        station.declare(mixed)
        arrive("fine 1", "broken 1", "fine 2")
        run_until_idle()
        while fold():
            pass
        assert sums(Total) == {"handled": 2, "dead_lettered": 1}


@pytest.mark.parametrize(("microseconds", "bucket"), [(0, "1"), (1000, "1"), (1001, "2"), (10**12, "inf")])
def test_bucket_of_names_the_upper_bound(microseconds: int, bucket: str) -> None:
    assert bucket_of(microseconds) == bucket


def test_minutes_are_whole(station: Any) -> None:
    station.declare(lambda event, context: None)
    arrive("ICE 1")
    run_until_idle()
    for delta in RollupDelta.objects.all():
        assert (delta.minute.second, delta.minute.microsecond) == (0, 0)
        assert delta.minute <= store().now()
