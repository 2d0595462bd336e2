"""Sensor readings from their arrival to the alert and the archive, on a real database, in batches."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import Any

import pytest

from examples.telemetry.anomalies import NEEDED, judge
from examples.telemetry.consumers import (
    ClockAhead,
    WrongUnit,
    archive,
    detect_anomalies,
    raise_alert,
    show_latest,
)
from examples.telemetry.events import AnomalyDetected, TelemetryArchived, TelemetryReceived
from examples.telemetry.models import Alert, Anomaly, ArchivedBatch, LatestReading
from examples.telemetry.sample import FAILURES, SENSORS, reading, send
from messaging.models import Message
from messaging.operations import command_line, resubmit_dead_letter
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from messaging.verification import verify

pytestmark = pytest.mark.django_db(transaction=True)
PAST = NEEDED * len(SENSORS)


@pytest.fixture(autouse=True)
def _consumers() -> None:
    synchronise()


def send_readings(count: int, *failures: str) -> None:
    """Send quiet readings in turn from every sensor, and then those that are in some trouble."""
    for number in range(count):
        send(reading(number, seed=5, failure=""))
    for number, failure in enumerate(failures, start=count):
        send(reading(number, seed=5, failure=failure))


def archived() -> list[dict[str, Any]]:
    blobs = [bytes(batch.lines) for batch in ArchivedBatch.objects.all()]
    return [json.loads(line) for blob in blobs for line in gzip.decompress(blob).decode().splitlines()]


def alert_again(alert: Alert) -> None:
    Alert.objects.create(reading_id=alert.reading_id, text=alert.text, raised_at=alert.raised_at)


class TestReadings:
    def test_are_shown_and_archived_in_batches_without_a_false_alarm(self, harness: Harness) -> None:
        send_readings(300)
        harness.finish()
        assert LatestReading.objects.count() == len(SENSORS)
        assert len(archived()) == 300
        assert sum(event.readings for event in harness.published(TelemetryArchived)) == 300
        assert ArchivedBatch.objects.count() < 10
        harness.published(AnomalyDetected, times=0)
        assert verify().is_sound

    def test_may_be_missing_in_the_live_view_but_not_in_the_archive(self, harness: Harness) -> None:
        harness.fail(show_latest, after=False)
        send_readings(8)
        harness.finish()
        assert not LatestReading.objects.exists()
        assert len(archived()) == 8
        assert verify().is_sound

    def test_are_archived_once_when_a_process_dies_after_its_work(self, harness: Harness) -> None:
        harness.fail(archive, after=True)
        send_readings(40)
        harness.finish()
        assert len({line["reading_id"] for line in archived()}) == len(archived()) == 40
        assert verify().is_sound


class TestAnomaly:
    def test_calls_the_engineer_once(self, harness: Harness) -> None:
        send_readings(PAST, "spike")
        harness.finish()
        [found] = harness.published(AnomalyDetected, times=1, value=140.0)
        assert Alert.objects.get(reading_id=found.reading_id).text.startswith(f"{found.sensor} says 140, usual is ")
        assert verify().is_sound

    def test_calls_once_when_processes_die_after_their_work(self, harness: Harness) -> None:
        harness.fail(detect_anomalies, after=True)
        harness.fail(raise_alert, times=2, after=True)
        send_readings(PAST, "spike")
        harness.finish()
        assert (Anomaly.objects.count(), Alert.objects.count()) == (1, 1)
        assert verify().is_sound

    def test_belongs_to_the_flow_of_its_reading(self, harness: Harness) -> None:
        send_readings(PAST, "spike")
        harness.finish()
        [anomaly] = harness.messages(AnomalyDetected)
        [cause] = [each for each in harness.messages(TelemetryReceived) if str(each.id) == anomaly.causation_id]
        assert getattr(cause.data, "value", None) == 140.0


class TestJudge:
    def test_waits_until_there_is_something_to_compare_with(self) -> None:
        assert judge([20.0] * (NEEDED - 1), 90.0, kind="temperature") is None

    def test_is_not_blinded_by_anomalies_in_its_window(self) -> None:
        window = [20.0 + number % 3 / 10 for number in range(40)] + [90.0] * 15
        score = judge(window, 91.0, kind="temperature")
        assert score is not None
        assert score.is_anomaly

    def test_forgives_the_first_twitch_after_a_standstill(self) -> None:
        score = judge([20.0] * 40, 20.3, kind="temperature")
        assert score is not None
        assert not score.is_anomaly


class TestBrokenReading:
    @pytest.mark.parametrize(
        ("failure", "handler", "error"),
        [
            ("fahrenheit", detect_anomalies, WrongUnit),
            ("clock_ahead", archive, ClockAhead),
            ("new_kind", detect_anomalies, KeyError),
        ],
    )
    def test_is_set_aside_and_its_batch_goes_on(
        self, harness: Harness, failure: str, handler: Any, error: type[Exception]
    ) -> None:
        send_readings(30, failure, "")
        harness.finish()
        harness.dead_lettered(TelemetryReceived, by=handler, error=error, times=1)
        harness.consumed(TelemetryReceived, by=handler, times=31)
        assert verify().is_sound

    def test_is_repaired_by_a_copy_in_the_right_unit(self, harness: Harness) -> None:
        send_readings(8, "fahrenheit")
        harness.finish()
        [letter] = harness.dead_lettered(TelemetryReceived, by=detect_anomalies)
        body = json.loads(bytes(Message.objects.get(id=letter.message_id).body))
        body = json.dumps({**body, "unit": "°C", "value": 64.0})
        resubmit_dead_letter(id=letter.id, body=body, actor=command_line("ana"), reason="was Fahrenheit")
        harness.finish()
        harness.dead_lettered(TelemetryReceived, by=detect_anomalies, times=0)
        assert verify().is_sound


class TestVerify:
    @pytest.mark.parametrize(
        ("damage", "word"),
        [
            (lambda: Alert.objects.all().delete(), "every anomaly is alerted"),
            (lambda: alert_again(Alert.objects.get()), "at most one"),
            (lambda: ArchivedBatch.objects.update(readings=1), "archives"),
        ],
    )
    def test_sees_what_is_lost_or_doubled(self, harness: Harness, damage: Any, word: str) -> None:
        send_readings(PAST, "spike")
        harness.finish()
        damage()
        assert any(word in each.name for each in verify().invariants if each.violations)


class TestTraffic:
    def test_knows_each_kind_of_trouble(self, harness: Harness) -> None:
        send_readings(PAST, *FAILURES)
        harness.finish()
        harness.advance(timedelta(minutes=1))
        assert Anomaly.objects.exists()
        assert len(harness.dead_lettered(TelemetryReceived)) == 3
        assert verify().is_sound
