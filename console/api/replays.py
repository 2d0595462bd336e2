"""Replays of history over REST: begin, watch, abort, resume."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Status

from console.api import idempotency
from console.api.authentication import Bearer, actor_of
from console.api.problems import not_found
from console.api.responses import Router, answers
from console.api.schemas import Items, StartReplay, Why
from messaging import operations
from messaging.queries import replays as queries

router = Router(tags=["replays"])

_CHANGE = {"parameters": [idempotency.PARAMETER]}


@router.get("", auth=Bearer("read"), response=answers({200: Items[queries.ReplayRow]}), operation_id="list_replays")
def list_replays(request: HttpRequest) -> Any:
    """List the newest 50 replays of history, newest first, without their samples."""
    return {"items": queries.list_replays()}


@router.get("/{replay_id}", auth=Bearer("read"), response=answers({200: queries.ReplayRow}), operation_id="get_replay")
def get_replay(request: HttpRequest, replay_id: UUID) -> Any:
    """One replay: how far it is and, in shadow, what would have changed."""
    found = queries.get_replay(replay_id)
    if found is None:
        raise not_found("replay with this id")
    return found


@router.post(
    "",
    auth=Bearer("operate"),
    response=answers({202: queries.ReplayRow}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="start_replay",
)
def start(request: HttpRequest, payload: StartReplay) -> Any:
    """Run stored messages of a range again for one consumer: in shadow (rolled back, with a report) or for real."""
    id = operations.replay_history(
        **payload.model_dump(exclude={"reason"}),
        actor=actor_of(request),
        reason=payload.reason,
        request_id=idempotency.request_id(request),
    )
    return Status(202, queries.get_replay(id))


@router.post(
    "/{replay_id}/abort",
    auth=Bearer("operate"),
    response=answers({200: queries.ReplayRow}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="abort_replay",
)
def abort(request: HttpRequest, replay_id: UUID, payload: Why) -> Any:
    """Run nothing more of it; what was sent goes on."""
    operations.abort_replay(
        id=replay_id, actor=actor_of(request), reason=payload.reason, request_id=idempotency.request_id(request)
    )
    return queries.get_replay(replay_id)


@router.post(
    "/{replay_id}/resume",
    auth=Bearer("operate"),
    response=answers({200: queries.ReplayRow}, changes=True),
    openapi_extra=_CHANGE,
    operation_id="resume_replay",
)
def resume(request: HttpRequest, replay_id: UUID, payload: Why) -> Any:
    """Go on with an aborted one where it stopped."""
    operations.resume_replay(
        id=replay_id, actor=actor_of(request), reason=payload.reason, request_id=idempotency.request_id(request)
    )
    return queries.get_replay(replay_id)
