"""How a saga's instance came to rest."""

from __future__ import annotations

from typing import Any

from messaging.models import SagaInstance
from messaging.sagas import Saga
from messaging.sagas.definition import COMPENSATING
from messaging.testing.sagas import look_up
from tests.failures import Ending


def ending_of(saga: type[Saga[Any]], correlation: object) -> Ending:
    """Return state and steps of an instance, "not started" when none exists.

    Raises:
        AssertionError: what was completed before the compensation was not undone in reverse.
    """
    if not SagaInstance.objects.filter(saga=saga.definition.name, correlation=str(correlation)).exists():
        return Ending(state="not started")
    seen = look_up(saga, correlation, state=None, fields={})
    begun = next((at for at, each in enumerate(seen.history) if each.state_after == COMPENSATING), len(seen.history))
    in_time = [each.completed for each in seen.history[:begun] if each.completed]
    undone = [step for step in seen.undone if step in in_time]
    assert undone == in_time[::-1][: len(undone)], f"{correlation}: completed {in_time}, undone {undone}"
    return Ending(state=seen.state, completed=seen.completed, undone=seen.undone)
