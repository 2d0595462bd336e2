"""Sample traffic: eight sensors with about four readings a second together, a few of them out of line or broken."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.db import transaction
from django.utils import timezone

from examples.sampling.flow import Flow
from examples.telemetry.anomalies import NEEDED
from examples.telemetry.consumers import UNITS
from examples.telemetry.events import TelemetryReceived
from examples.telemetry.models import Sensor
from messaging import publish
from messaging.ids import new_id

SOURCE = "sample"
_LEVELS = {"pressure": (4.0, 0.03), "temperature": (64.0, 0.4), "vibration": (2.2, 0.12)}
SENSORS = {
    "boiler-1": "temperature", "boiler-2": "temperature", "cooler-1": "temperature", "pump-1": "vibration",
    "pump-2": "vibration", "turbine-1": "vibration", "valve-1": "pressure", "valve-2": "pressure",
}  # fmt: skip
FAILURES: dict[str, tuple[dict[str, Any], int]] = {
    "spike": ({"value": 140.0}, 20),
    "fahrenheit": ({"sensor": "boiler-2", "kind": "temperature", "unit": "°F", "value": 147.2}, 2),
    "clock_ahead": ({"ahead": timedelta(days=365)}, 2),
    "new_kind": ({"sensor": "hall-1", "kind": "humidity", "unit": "%", "value": 41.0}, 1),
}
"""What is out of the ordinary and how often each is chosen: a spike raises an alert, the others end as dead letters
that an edited copy repairs (the new kind: a deploy). Their neighbours in the batch are handled."""


def reading(number: int, *, seed: int, failure: str | None = None, at: datetime | None = None) -> TelemetryReceived:
    """Return reading number n of a seed; ``failure`` forces a kind of trouble, "" forbids it, None lets dice decide."""
    dice = random.Random(f"{seed}-{number}")
    sensor = sorted(SENSORS)[number % len(SENSORS)]
    kind = SENSORS[sensor]
    level, noise = _LEVELS[kind]
    if failure is None:
        failure = _choose(dice) if dice.random() < 0.01 else ""
    given = {"sensor": sensor, "kind": kind, "unit": UNITS[kind], **(FAILURES[failure][0] if failure else {})}
    value = level + noise * (2 * math.sin(number / 900) + dice.gauss(0, 1))
    return TelemetryReceived(
        reading_id=new_id(),
        sensor=given["sensor"],
        kind=given["kind"],
        unit=given["unit"],
        value=given.get("value", round(value, 3)),
        measured_at=(at or timezone.now()) + given.get("ahead", timedelta()),
    )


def traffic() -> Iterator[None]:
    """Send a reading with every step; the first step gives every sensor a past and shows each kind of trouble."""
    seed = random.SystemRandom().getrandbits(48)
    opening = _opening()
    for number in count():
        failure = opening[number] if number < len(opening) else None
        send(reading(number, seed=seed, failure=failure))
        if number + 1 >= len(opening):
            yield


def send(event: TelemetryReceived) -> None:
    with transaction.atomic():
        publish(event, key=event.sensor, source=SOURCE)


def _opening() -> list[str]:
    return [] if Sensor.objects.exists() else [""] * (NEEDED + 1) * len(SENSORS) + [*FAILURES]


def _choose(dice: random.Random) -> str:
    weights = [weight for _, weight in FAILURES.values()]
    return dice.choices(list(FAILURES), weights)[0]


TELEMETRY = Flow(name="telemetry", what="readings", seconds_between=0.25, traffic=traffic, first_after=3)
