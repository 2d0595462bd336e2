"""What operators read about the running bus: consumers, vitals, charts, totals, audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import clock
from messaging.ids import new_id
from messaging.models import (
    AuditRecord,
    ConsumerState,
    DeadLetter,
    Delivery,
    OutboxEntry,
    QuarantinedMessage,
    Rollup,
    RollupDelta,
    Subscription,
    Total,
    Worker,
)
from messaging.queries import audit, consumers, overview, rates

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 18, 12, 0, 30, tzinfo=UTC)
THIS_MINUTE = NOON.replace(second=0)


@pytest.fixture(autouse=True)
def only_the_tests_own_consumers(db: None) -> None:
    """Those of the installed examples were registered by the migration."""
    ConsumerState.objects.all().delete()
    Subscription.objects.all().delete()


@pytest.fixture(autouse=True)
def it_is_noon() -> Any:
    clock.install(lambda: NOON)
    yield
    clock.install(None)


def make_consumer(name: str, **given: Any) -> ConsumerState:
    return ConsumerState.objects.create(
        name=name, queue=name, guarantee="exactly_once", handler="shop.handlers.f", synced_at=NOON, **given
    )


def make_delivery(consumer: str, *, age: float = 1, **given: Any) -> Delivery:
    at = NOON - timedelta(seconds=age)
    return Delivery.objects.create(
        message_id=new_id(), consumer=consumer, run=1, created_at=at, **{"available_at": at, **given}
    )


def make_dead_letter(consumer: str, *, state: str = "open") -> DeadLetter:
    return DeadLetter.objects.create(
        message_id=new_id(), consumer=consumer, run=1, type="shop.OrderPlaced", version=1, correlation_id="c",
        reason="permanent", attempts=1, fingerprint="f", error_type="E", error_message="m", location="l",
        traceback="t", dead_at=NOON, state=state,
    )  # fmt: skip


def record(
    consumer: str, outcome: str, count: int, *, minutes_ago: int = 0, folded: bool = True, **buckets: int
) -> None:
    (Rollup if folded else RollupDelta).objects.create(
        minute=THIS_MINUTE - timedelta(minutes=minutes_ago), consumer=consumer, outcome=outcome, count=count,
        duration_us=count * 1000, critical_us=count * 2000,
        buckets={name.removeprefix("ms"): value for name, value in buckets.items()},
    )  # fmt: skip


class TestConsumers:
    def test_count_the_work_of_each_consumer(self) -> None:
        make_consumer("billing.charge")
        make_delivery("billing.charge", age=90)
        make_delivery("billing.charge", failures=1, available_at=NOON + timedelta(minutes=1))
        make_delivery("billing.charge", claim_token=new_id(), failures=2)
        make_dead_letter("billing.charge")
        make_dead_letter("billing.charge", state="replaying")
        make_dead_letter("billing.charge", state="resolved")
        Subscription.objects.create(type="shop.OrderPlaced", consumer="billing.charge", starts_at=NOON)
        row = consumers.get_consumer("billing.charge")
        assert row is not None
        assert (row.backlog, row.waiting, row.running, row.dead_letters) == (3, 1, 1, 2)
        assert row.oldest_at == NOON - timedelta(seconds=90)
        assert row.subscriptions == ("shop.OrderPlaced",)
        assert row.failing_share is None
        assert row.critical_p50_ms is None

    def test_measure_from_folded_and_unfolded_outcomes(self) -> None:
        make_consumer("billing.charge")
        record("billing.charge", "handled", 60, minutes_ago=1, ms100=60)
        record("billing.charge", "handled", 6, folded=False, ms200=6)
        record("billing.charge", "retried", 22, minutes_ago=2)
        record("billing.charge", "dead_lettered", 99, minutes_ago=40)
        row = consumers.get_consumer("billing.charge")
        assert row is not None
        assert row.handled_per_second == pytest.approx(66 / 330)
        assert row.failing_share == pytest.approx(22 / 88)
        assert row.per_minute[-3:] == (0, 60, 6)
        assert len(row.per_minute) == 60
        assert row.critical_p50_ms == pytest.approx(50 + 50 * 33 / 60)

    def test_stand_worst_first(self) -> None:
        for name in ("calm", "failing", "dead", "late", "gone"):
            make_consumer(name, retired_at=NOON if name == "gone" else None)
        record("failing", "retried", 5)
        record("failing", "handled", 5)
        make_dead_letter("dead")
        make_dead_letter("gone")
        make_delivery("late", age=3600)
        assert [row.name for row in consumers.list_consumers()] == ["failing", "dead", "late", "calm", "gone"]

    def test_say_whether_a_pause_still_drains(self) -> None:
        for name in ("held", "draining"):
            make_consumer(name, paused_at=NOON, paused_by="ben", pause_reason="Twilio maintenance")
        make_delivery("draining", claim_token=new_id())
        make_consumer("open", paused_at=NOON, paused_until=NOON - timedelta(seconds=1))
        make_consumer("old", retired_at=NOON)
        statuses = {row.name: row.status for row in consumers.list_consumers()}
        assert statuses == {"held": "paused", "draining": "draining", "open": "running", "old": "retired"}

    def test_take_eight_statements_however_many_there_are(self) -> None:
        for n in range(12):
            make_consumer(f"consumer.{n}")
            make_delivery(f"consumer.{n}")
            record(f"consumer.{n}", "handled", n + 1, ms5=n + 1)
        with CaptureQueriesContext(connection) as statements:
            assert len(consumers.list_consumers()) == 12
        assert len(statements) <= 8

    def test_are_none_when_unknown(self) -> None:
        make_consumer("billing.charge")
        assert consumers.get_consumer("billing.refund") is None
        assert consumers.get_consumer("") is None


class TestVitals:
    def test_are_zero_on_an_empty_bus(self) -> None:
        vitals = overview.vitals()
        assert (vitals.outbox_rows, vitals.outbox_lag_seconds, vitals.backlog) == (0, 0.0, 0)
        assert (vitals.dead_letters, vitals.quarantined, vitals.oldest_at, vitals.paused) == (0, 0, None, ())

    def test_sum_up_the_bus_in_four_statements(self) -> None:
        make_consumer("billing.charge", paused_at=NOON)
        make_delivery("billing.charge", age=70)
        make_dead_letter("billing.charge")
        make_dead_letter("billing.charge", state="discarded")
        for age in (4, 9):
            OutboxEntry.objects.create(message_id=new_id(), type="t", created_at=NOON - timedelta(seconds=age))
        QuarantinedMessage.objects.create(
            kind="parked", source="rest", reason="r", content_type="x", raw=b"", body_hash="h", received_at=NOON
        )
        for role, age in (("worker", 1), ("worker", 600), ("relay", 1)):
            Worker.objects.create(
                role=role, name=role, host="h", pid=1, started_at=NOON, heartbeat_at=NOON - timedelta(seconds=age)
            )
        with CaptureQueriesContext(connection) as statements:
            vitals = overview.vitals()
        assert len(statements) <= 4
        assert (vitals.outbox_rows, vitals.outbox_lag_seconds) == (2, 9.0)
        assert (vitals.backlog, vitals.oldest_at) == (1, NOON - timedelta(seconds=70))
        assert (vitals.dead_letters, vitals.quarantined, vitals.paused) == (1, 1, ("billing.charge",))
        assert (vitals.workers_alive, vitals.workers_known, vitals.relays_alive) == (1, 2, 1)


class TestSeries:
    def test_give_one_entry_a_minute_and_ignore_what_was_published(self) -> None:
        record("a", "handled", 7, minutes_ago=1, ms10=7)
        record("b", "handled", 3, minutes_ago=1, folded=False, ms10=3)
        record("a", "dead_lettered", 2)
        record("a", "retried", 4)
        record("a", "crashed", 1)
        record("a", "dropped", 5)
        record("", "published", 1000)
        series = overview.series(minutes=60)
        assert len(series.minutes) == len(series.handled) == 60
        assert series.minutes[-1] == THIS_MINUTE
        assert series.handled[-2:] == (10, 0)
        assert (series.dead_lettered[-1], series.will_retry[-1], series.dropped[-1]) == (2, 5, 5)
        assert series.critical_p50_ms[-2:] == (pytest.approx(7.5), None)

    def test_narrow_to_one_consumer(self) -> None:
        record("a", "handled", 7)
        record("b", "handled", 3)
        assert overview.series(minutes=15, consumer="b").handled == (0,) * 14 + (3,)

    def test_join_minutes_into_steps(self) -> None:
        record("a", "handled", 7, minutes_ago=1, ms10=7)
        record("a", "handled", 3, minutes_ago=5, ms10=3)
        series = overview.series(minutes=60, step=5)
        assert len(series.minutes) == 12
        assert series.handled[-2:] == (10, 0)
        assert series.minutes[-1] == THIS_MINUTE


class TestPercentile:
    def test_interpolates_inside_the_bucket(self) -> None:
        assert rates.percentile({"100": 10}, 0.5) == pytest.approx(75)
        assert rates.percentile({"1": 50, "1000": 50}, 0.95) == pytest.approx(500 + 500 * 0.9)

    def test_ends_at_the_last_bound(self) -> None:
        assert rates.percentile({"inf": 3}, 0.5) == 300_000

    def test_is_none_without_times(self) -> None:
        assert rates.percentile({}, 0.5) is None


class TestTotals:
    def test_count_unfolded_deltas_once(self) -> None:
        Total.objects.create(
            consumer="a", outcome="handled", count=5, duration_us=50, critical_us=500, buckets={"10": 4, "20": 1}
        )
        record("a", "handled", 2, folded=False, ms10=2)
        record("", "published", 9, folded=False)
        published, handled = overview.totals()
        assert (published.consumer, published.outcome, published.count) == ("", "published", 9)
        assert (handled.count, handled.duration_us, handled.buckets) == (7, 2050, {"10": 6, "20": 1})


class TestAudit:
    @pytest.fixture(autouse=True)
    def five_records(self) -> None:
        for n in range(5):
            AuditRecord.objects.create(
                at=NOON + timedelta(seconds=n),
                actor="ana" if n % 2 else "ben",
                actor_kind="user",
                action="pause" if n < 3 else "replay",
                outcome="denied" if n == 0 else "done",
                target=f"consumer:c{n}" if n < 3 else f"dead_letter:{n}",
            )

    def test_pages_forth_and_back(self) -> None:
        first = audit.list_audit(limit=2)
        assert [row.target for row in first.rows] == ["dead_letter:4", "dead_letter:3"]
        assert first.newer is None
        second = audit.list_audit(limit=2, after=first.older)
        third = audit.list_audit(limit=2, after=second.older)
        assert [row.target for row in third.rows] == ["consumer:c0"]
        assert third.older is None
        back = audit.list_audit(limit=2, before=third.newer)
        assert back.rows == second.rows
        assert audit.list_audit(limit=2, before=back.newer).newer is None

    def test_narrows_by_every_filter(self) -> None:
        assert len(audit.list_audit(actor="ana").rows) == 2
        assert len(audit.list_audit(action="pause").rows) == 3
        assert len(audit.list_audit(target="consumer:").rows) == 3
        assert len(audit.list_audit(target="consumer:c1").rows) == 1
        assert [row.target for row in audit.list_audit(outcome="denied").rows] == ["consumer:c0"]

    def test_finds_nothing_for_text_that_no_database_holds(self) -> None:
        assert audit.list_audit(actor="a\x00na").rows == ()

    def test_suggests_what_was_seen(self) -> None:
        assert audit.known_choices() == audit.AuditChoices(actors=("ana", "ben"), actions=("pause", "replay"))
