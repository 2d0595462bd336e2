"""Three readers of the same readings, each with the promise that its work is worth, and one of what was found."""

from __future__ import annotations

import gzip
from datetime import timedelta

from django.utils import timezone

from examples.telemetry.anomalies import WINDOW, judge
from examples.telemetry.events import AnomalyDetected, TelemetryArchived, TelemetryReceived
from examples.telemetry.models import Alert, Anomaly, ArchivedBatch, LatestReading, Sensor
from messaging import Batch, BatchContext, Context, PermanentError, Retry, consumer, publish
from messaging.ids import new_id

GATHERED = Batch(size=100, seconds=2)
QUICK = Retry(immediate=1, delays=("5s", "20s"))
UNITS = {"pressure": "bar", "temperature": "°C", "vibration": "mm/s"}
CLOCK_ERROR = timedelta(minutes=5)


class WrongUnit(PermanentError):
    """The reading is in another unit than its kind; comparing it would raise a false alert."""


class ClockAhead(PermanentError):
    """The reading comes from the future: its sensor's clock is wrong."""


@consumer(TelemetryReceived, guarantee="at_most_once", batch=GATHERED)
def show_latest(events: list[TelemetryReceived], batch: BatchContext) -> None:
    """Keep the live view current; a reading that is lost here is replaced by the next."""
    newest = {event.sensor: event for event in sorted(events, key=lambda event: event.measured_at)}
    LatestReading.objects.bulk_create(
        [
            LatestReading(sensor=sensor, value=event.value, unit=event.unit, measured_at=event.measured_at)
            for sensor, event in sorted(newest.items())  # one order for all, or two batches wait for each other
        ],
        update_conflicts=True,
        unique_fields=["sensor"],
        update_fields=["value", "unit", "measured_at"],
    )


@consumer(TelemetryReceived, guarantee="exactly_once", batch=GATHERED, retry=QUICK)
def detect_anomalies(events: list[TelemetryReceived], batch: BatchContext) -> None:
    """Compare each reading with its sensor's last ones, and tell what is out of line."""
    sensors = _locked_sensors({event.sensor for event in events})
    known = set(Anomaly.objects.filter(reading_id__in=[e.reading_id for e in events]).values_list("pk", flat=True))
    found = []
    for event, _ in batch.each(events):
        anomaly = _examine(event, sensors[event.sensor])
        if anomaly is not None and event.reading_id not in known:
            publish(anomaly, key=event.sensor)
            found.append(anomaly)
    Sensor.objects.bulk_update(sensors.values(), ["recent"])
    now = timezone.now()
    Anomaly.objects.bulk_create(
        Anomaly(reading_id=a.reading_id, sensor=a.sensor, value=a.value, score=a.score, detected_at=now) for a in found
    )


@consumer(TelemetryReceived, guarantee="exactly_once", batch=Batch(size=400, seconds=10), retry=QUICK)
def archive(events: list[TelemetryReceived], batch: BatchContext) -> None:
    """Put the readings away together."""
    latest = timezone.now() + CLOCK_ERROR
    for event in events:
        if event.measured_at > latest:
            raise ClockAhead(f"{event.sensor} measured at {event.measured_at:%Y-%m-%d %H:%M}, which is to come.")
    lines = "\n".join(event.model_dump_json() for event in events)
    batch_id, times = new_id(), [event.measured_at for event in events]
    ArchivedBatch.objects.create(
        id=batch_id, readings=len(events), lines=gzip.compress(lines.encode(), mtime=0), archived_at=timezone.now()
    )
    publish(TelemetryArchived(batch_id=batch_id, readings=len(events), first_at=min(times), last_at=max(times)))


@consumer(AnomalyDetected, guarantee="exactly_once", retry=QUICK)
def raise_alert(event: AnomalyDetected, context: Context) -> None:
    """Call the engineer, once per anomaly."""
    Alert.objects.create(
        reading_id=event.reading_id,
        text=f"{event.sensor} says {event.value:g}, usual is {event.usual:g} (score {event.score:.1f})",
        raised_at=timezone.now(),
    )


def _locked_sensors(names: set[str]) -> dict[str, Sensor]:
    # In the order of their names, here and below: two batches with the same sensors must not wait for each other.
    Sensor.objects.bulk_create((Sensor(id=name) for name in sorted(names)), ignore_conflicts=True)
    return {sensor.id: sensor for sensor in Sensor.objects.select_for_update().filter(id__in=names).order_by("id")}


def _examine(event: TelemetryReceived, sensor: Sensor) -> AnomalyDetected | None:
    # A bug on purpose: nobody added humidity here, and such a reading fails with a KeyError.
    if event.unit != UNITS[event.kind]:
        raise WrongUnit(f"{event.sensor} sent {event.unit!r}; {event.kind} is measured in {UNITS[event.kind]!r}.")
    score = judge(sensor.recent, event.value, kind=event.kind)
    sensor.recent = [*sensor.recent, event.value][-WINDOW:]
    if score is None or not score.is_anomaly:
        return None
    return AnomalyDetected(
        reading_id=event.reading_id,
        sensor=event.sensor,
        kind=event.kind,
        value=event.value,
        usual=score.usual,
        score=score.score,
    )
