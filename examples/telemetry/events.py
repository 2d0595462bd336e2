"""What sensors tell, and what is found in it. The sensor is the key."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from messaging import Event

SensorId = Annotated[str, Field(pattern=r"^[a-z]{2,20}-[0-9]{1,6}$")]
Kind = Annotated[str, Field(pattern=r"^[a-z]{2,20}$")]


class TelemetryReceived(Event, version=1):
    """A sensor took one reading."""

    reading_id: UUID
    sensor: SensorId
    kind: Kind
    value: float
    unit: Annotated[str, Field(max_length=10)]
    measured_at: AwareDatetime


class AnomalyDetected(Event, version=1):
    """A reading lies far outside of what its sensor said lately."""

    reading_id: UUID
    sensor: SensorId
    kind: Kind
    value: float
    usual: float
    """The median of the readings before it."""
    score: float
    """Modified z-score, see examples.telemetry.anomalies."""


class TelemetryArchived(Event, version=1):
    """A batch of readings is in the archive."""

    batch_id: UUID
    readings: Annotated[int, Field(ge=1)]
    first_at: datetime
    last_at: datetime
