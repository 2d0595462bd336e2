from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Schema

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import Body, Items, Reason, Text
from messaging import operations
from messaging.queries import sagas as reads

router = Router(tags=["sagas"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}


class SagaAct(Body):
    """Which instance, and why. ``to`` is the final state, ``timeout`` the name of the timeout to fire."""

    saga: Text
    correlation: Text
    reason: Reason
    to: str = ""
    timeout: str = ""


class SagaHistory(Schema):
    instance: reads.SagaRow
    flow: str
    data: dict[str, Any]
    timeouts: dict[str, dict[str, Any]]
    history: list[reads.TransitionRow]
    failures: list[reads.SagaFailure]


class Accepted(Schema):
    accepted: bool


@router.get("", auth=Bearer("read"), response=answers({200: Items[reads.SagaRow]}), operation_id="list_sagas")
def list_sagas(request: HttpRequest) -> Any:
    """List up to 500 unfinished instances, the newest first; those whose flow holds a dead letter are failed."""
    return {"items": reads.list_sagas(limit=500).rows}


@router.get(
    "/{saga}/{path:correlation}", auth=Bearer("read"), response=answers({200: SagaHistory}), operation_id="get_saga"
)
def get_saga(request: HttpRequest, saga: str, correlation: str) -> Any:
    """Show one instance: data (masked), pending timeouts, history, what failed."""
    found = reads.saga_detail(saga=saga, correlation=correlation)
    if found is None:
        raise not_found("saga")
    return {
        "instance": found.row, "flow": found.flow, "data": found.data, "timeouts": found.timeouts,
        "history": found.history, "failures": found.failures,
    }  # fmt: skip


def _given(request: HttpRequest, payload: SagaAct) -> dict[str, Any]:
    return {
        "saga": payload.saga, "correlation": payload.correlation, "reason": payload.reason,
        "actor": actor_of(request), "request_id": idempotency.request_id(request),
    }  # fmt: skip


@router.post(
    "/retry", auth=Bearer("operate"), response=answers({200: Accepted}, changes=True), openapi_extra=_CHANGE,
    operation_id="retry_saga",
)  # fmt: skip
def retry(request: HttpRequest, payload: SagaAct) -> Any:
    """Run again what is dead-lettered in the instance's flow."""
    operations.retry_saga(**_given(request, payload))
    return {"accepted": True}


@router.post(
    "/compensate", auth=Bearer("operate"), response=answers({200: Accepted}, changes=True), openapi_extra=_CHANGE,
    operation_id="compensate_saga",
)  # fmt: skip
def compensate(request: HttpRequest, payload: SagaAct) -> Any:
    """Undo the completed steps, the last one first."""
    operations.compensate_saga(**_given(request, payload), to=payload.to)
    return {"accepted": True}


@router.post(
    "/complete", auth=Bearer("operate"), response=answers({200: Accepted}, changes=True), openapi_extra=_CHANGE,
    operation_id="complete_saga",
)  # fmt: skip
def complete(request: HttpRequest, payload: SagaAct) -> Any:
    """End the instance by hand in the final state ``to``."""
    operations.complete_saga(**_given(request, payload), to=payload.to)
    return {"accepted": True}


@router.post(
    "/fire-timeout", auth=Bearer("operate"), response=answers({200: Accepted}, changes=True), openapi_extra=_CHANGE,
    operation_id="fire_saga_timeout",
)  # fmt: skip
def fire_timeout(request: HttpRequest, payload: SagaAct) -> Any:
    """Let a pending timeout be due now."""
    operations.fire_saga_timeout(**_given(request, payload), timeout=payload.timeout)
    return {"accepted": True}
