"""What a look for work reads while a backlog waits: no more of it than it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from console.environment import PLANNING
from messaging import clock
from messaging.database import store
from messaging.ids import new_id
from messaging.models import Delivery
from tests.rows import MAIL, RESERVE

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.only_on("postgresql"),  # SQLite does not count what it reads, and has no statistics to be misled by
]
WAITING, KEYS = 3_000, 20


def fill(consumer: str, *, is_ordered: bool) -> None:
    """Let deliveries wait for one of the consumers of the examples."""
    since = clock.now() - timedelta(minutes=1)
    Delivery.objects.bulk_create(
        Delivery(
            message_id=new_id(), consumer=consumer, run=1, created_at=since, available_at=since, is_alone=False,
            key=f"key {number % KEYS}" if is_ordered else None, position=number if is_ordered else None,
        )
        for number in range(WAITING)
    )  # fmt: skip


def mislead(consumer: str, *, is_ordered: bool) -> None:
    """Analyse while half of what waits is of the other kind, which is taken afterwards, as a busy table always is."""
    fill(consumer, is_ordered=not is_ordered)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messaging_delivery")
    Delivery.objects.filter(position__isnull=is_ordered).delete()


def read_by(look: Callable[[], Any]) -> int:
    """Return how many deliveries the server fetches for ``look``."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL stats_fetch_consistency = none")
        before = _read(cursor)
        look()
        return _read(cursor) - before


@contextmanager
def planning_as(role: str) -> Iterator[None]:
    """Let the server plan as it does for a process of this role."""
    chosen = dict(each.split("=") for each in PLANNING[role].split("-c ")[1:])
    with connection.cursor() as cursor:
        for name, value in chosen.items():
            cursor.execute(f"SET {name} = {value}")
        yield
        for name in chosen:
            cursor.execute(f"RESET {name}")


def _read(cursor: Any) -> int:
    cursor.execute(
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
        " WHERE relname = 'messaging_delivery'"
    )
    return int(cursor.fetchone()[0])


def claim(consumer: str, *, alone: bool) -> int:
    return store().claim(consumer=consumer, token=new_id(), worker=new_id(), limit=100, alone=alone)


class TestLook:
    @pytest.mark.parametrize("is_ordered", [False, True])
    def test_for_consumers_with_work_reads_one_delivery_of_each(self, is_ordered: bool) -> None:
        fill(RESERVE, is_ordered=is_ordered)
        mislead(RESERVE, is_ordered=is_ordered)
        assert read_by(lambda: store().claimable()) < 100
        assert store().claimable() == [RESERVE]

    def test_for_what_must_run_alone_reads_nothing_else(self) -> None:
        fill(RESERVE, is_ordered=False)
        with connection.cursor() as cursor:
            cursor.execute(
                "ANALYZE messaging_delivery"
            )  # autovacuum may have come by when all of another test were alone
        assert read_by(lambda: claim(RESERVE, alone=True)) < 100

    def test_for_another_consumer_reads_nothing_of_this_one(self) -> None:
        fill(RESERVE, is_ordered=True)
        mislead(RESERVE, is_ordered=True)
        with planning_as("worker"):
            assert read_by(lambda: claim(MAIL, alone=False)) < 100
            assert read_by(lambda: claim(RESERVE, alone=False)) < 100

    @pytest.mark.parametrize("is_analysed", [False, True])
    def test_takes_a_chunk_without_reading_what_waits_behind_it(self, is_analysed: bool) -> None:
        fill(RESERVE, is_ordered=False)
        if is_analysed:
            mislead(RESERVE, is_ordered=False)
        with planning_as("worker"):
            assert read_by(lambda: claim(RESERVE, alone=False)) < 500

    @pytest.mark.parametrize("is_ordered", [False, True])
    def test_whether_a_batch_is_full_reads_one_batch(self, is_ordered: bool) -> None:
        fill(RESERVE, is_ordered=is_ordered)
        mislead(RESERVE, is_ordered=is_ordered)
        with planning_as("worker"):
            assert read_by(lambda: store().is_ripe(consumer=RESERVE, size=100, seconds=60.0)) < 500

    def test_reads_no_more_where_it_was_planned_on_an_empty_table(self) -> None:
        fill(RESERVE, is_ordered=False)
        Delivery.objects.all().delete()
        with planning_as("relay"), connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE messaging_delivery")
            for _ in range(10):
                assert store().claimable() == []  # prepared by now, and planned for no rows
            fill(RESERVE, is_ordered=False)
            assert read_by(lambda: store().claimable()) < 100
