"""Sagas: long-running workflows as state machines. A saga is a consumer of its own name."""

from messaging.sagas.declaring import SagaData, State, Step, entering, on, starts, timeout, when_all
from messaging.sagas.saga import Saga, all_sagas, find_saga, forget_saga

__all__ = [
    "Saga", "SagaData", "State", "Step", "all_sagas", "entering", "find_saga", "forget_saga", "on", "starts", "timeout",
    "when_all",
]  # fmt: skip
