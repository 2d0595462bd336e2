"""Retention takes what is old and done, never what unfinished work needs; partitions are there before their day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from messaging.database import store
from messaging.database.partitions import DAYS_AHEAD, HISTORY, ensure_partitions
from messaging.ids import id_at
from messaging.models import Attempt, DeadLetter, Message, ReceivedMessage, RequestRecord
from messaging.pruning import prune
from messaging.testing import run_until_idle
from tests import rows
from tests.factories import ANNOUNCE, arrive, ledger

pytestmark = pytest.mark.django_db(transaction=True)
OLD, YOUNG = 60 * 86_400, 5 * 86_400
"""Ages in seconds, on both sides of the retention of 30 days."""


def history(age: float) -> Message:
    """Store a message of this age that was handled, in the partition of its day."""
    at = store().now() - timedelta(seconds=age)
    ensure_partitions(today=at, days_ahead=0)
    message = rows.message(age=age)
    rows.attempt(message, ANNOUNCE)
    return message


def kept() -> set[Any]:
    return set(Message.objects.values_list("id", flat=True))


class TestPrune:
    def test_takes_old_history_and_keeps_the_young(self) -> None:
        old, young = history(OLD), history(YOUNG)
        prune()
        assert kept() == {young.id}
        assert set(Attempt.objects.values_list("message_id", flat=True)) == {young.id}
        assert old.id not in kept()
        assert prune()["messaging_message"] == 0

    def test_keeps_a_message_that_still_waits_for_its_delivery(self, station: Any) -> None:
        station.declare()
        message = history(OLD)
        Message.objects.filter(id=message.id).update(body=b'{"train": "ICE 1"}', type="tests.TrainArrived")
        rows.delivery(message, ANNOUNCE, created_at=message.published_at + timedelta(milliseconds=30))
        prune()
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_keeps_a_message_whose_delivery_was_written_after_midnight(self) -> None:
        midnight = (store().now() - timedelta(seconds=OLD)).replace(hour=0, minute=0, second=0, microsecond=0)
        ensure_partitions(today=midnight - timedelta(days=1), days_ahead=1)
        message = rows.message(published_at=midnight - timedelta(milliseconds=5))
        rows.delivery(message, ANNOUNCE, created_at=midnight + timedelta(milliseconds=5))
        prune()
        assert kept() == {message.id}

    def test_keeps_a_message_that_was_not_relayed_yet(self) -> None:
        message = history(OLD)
        rows.outbox(message)
        prune()
        assert kept() == {message.id}

    @pytest.mark.parametrize("state", ["open", "replaying", "resubmitting"])
    def test_keeps_a_message_that_a_person_may_still_repair(self, state: str) -> None:
        message = history(OLD)
        rows.dead_letter(message, ANNOUNCE, state=state)
        prune()
        assert kept() == {message.id}
        assert DeadLetter.objects.count() == 1

    @pytest.mark.parametrize("state", ["resolved", "discarded"])
    def test_takes_a_dead_letter_that_was_closed_long_ago(self, state: str) -> None:
        message = history(OLD)
        rows.dead_letter(message, ANNOUNCE, state=state, resolved_at=message.published_at + timedelta(hours=1))
        prune()
        assert not DeadLetter.objects.exists()
        assert kept() == set()

    def test_takes_what_was_remembered_only_for_a_while(self) -> None:
        now = store().now()
        for days in (1, 20):
            at = now - timedelta(days=days)
            ReceivedMessage.objects.create(
                source="yard", external_id=str(days), body_hash="x", message_id=id_at(at), received_at=at
            )
            RequestRecord.objects.create(
                actor="user:ana", request_id=str(days), fingerprint="x", answer={}, created_at=at
            )
        prune()
        assert list(ReceivedMessage.objects.values_list("external_id", flat=True)) == ["1"]
        assert list(RequestRecord.objects.values_list("request_id", flat=True)) == ["1"]


@pytest.mark.only_on("postgresql")  # the same tables are ordinary ones on SQLite
class TestPartitions:
    def test_exist_before_their_day_and_are_made_once(self) -> None:
        ensure_partitions()
        assert ensure_partitions() == 0
        today = datetime.now(UTC)
        for table in HISTORY:
            wanted = {f"{table}_{today + timedelta(days=n):%Y%m%d}" for n in range(DAYS_AHEAD + 1)}
            assert wanted <= partitions(table)

    def test_take_the_rows_of_their_day(self) -> None:
        arrive("ICE 1")
        assert partition_of_only_row("messaging_message") == f"messaging_message_{datetime.now(UTC):%Y%m%d}"

    def test_refuse_no_row_of_another_day(self) -> None:
        rows.message(published_at=datetime(2031, 1, 1, tzinfo=UTC))
        assert partition_of_only_row("messaging_message") == "messaging_message_default"
        assert ensure_partitions(today=datetime(2031, 1, 1, tzinfo=UTC), days_ahead=0) == len(HISTORY) - 1
        drop("messaging_attempt_20310101", "messaging_auditrecord_20310101")

    def test_go_as_a_whole(self) -> None:
        message = history(OLD)
        name = f"messaging_message_{message.published_at:%Y%m%d}"
        assert name in partitions("messaging_message")
        assert prune()["messaging_message"] >= 1
        assert name not in partitions("messaging_message")


def partitions(table: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table])
        return {name for (name,) in cursor.fetchall()}


def partition_of_only_row(table: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {table}")
        [(name,)] = cursor.fetchall()
        return str(name)


def drop(*tables: str) -> None:
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DROP TABLE {table}")
