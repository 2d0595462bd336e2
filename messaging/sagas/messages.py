"""What a saga tells itself. Each goes to the saga's own consumer, so retries and dead letters apply to it."""

from __future__ import annotations

from typing import Literal

from messaging.contracts.model import Event


class SagaTimedOut(Event, version=1, name="messaging.SagaTimedOut"):
    """A timeout of a saga is due. It is ignored when the saga has moved on."""

    correlation: str
    timeout: str


class SagaUndoRequested(Event, version=1, name="messaging.SagaUndoRequested"):
    """A completed step is to be compensated."""

    correlation: str
    step: str


class SagaInterventionRequested(Event, version=1, name="messaging.SagaInterventionRequested"):
    """An operator takes a saga into another state."""

    correlation: str
    action: Literal["compensate", "complete"]
    to: str
    actor: str
    reason: str


INTERNAL = (SagaTimedOut, SagaUndoRequested, SagaInterventionRequested)
