"""Resubmit: publish an edited copy of a dead letter's message, linked to the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from pydantic import ValidationError

from messaging import audit, clock, signals, tracing
from messaging.actors import Actor
from messaging.contracts import exact, redaction, registry
from messaging.contracts.strict_json import loads
from messaging.database import put, store
from messaging.envelope import Envelope
from messaging.errors import (
    BodyUnavailable,
    ContractError,
    OperationRefused,
    StorageUnavailable,
    Undecodable,
    UnknownContract,
)
from messaging.failure import storable
from messaging.ids import new_id
from messaging.models import Attempt, DeadLetter, Message
from messaging.operations.dead_letters import why_not_open
from messaging.operations.guard import carry_out, checked_reason
from messaging.operations.lines import line_of

Audience = Literal["failed", "all"]
HEADER_LIMIT = 50


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One violation of the contract: ``path`` ("items[0].unit_price"), a message, the line of the body (1-based)."""

    path: str
    message: str
    line: int | None


@dataclass(frozen=True, kw_only=True)
class ResubmitCheck:
    """A dry run of a resubmission: nothing is written."""

    errors: tuple[FieldError, ...]
    is_open: bool
    """The original is still an open dead letter."""
    resolved_by: str
    """Why it is not open any more, in words ("already resolved (replayed) by ana"); empty while it is."""
    handled_elsewhere: tuple[str, ...]
    """Other consumers that already handled the original."""


@dataclass(frozen=True, kw_only=True)
class ResubmitResult:
    message_id: UUID


def check_resubmission(*, id: UUID, body: str) -> ResubmitCheck:
    """Say whether ``body`` (JSON text) would be accepted as an edited copy of dead letter ``id``.

    Raises:
        OperationRefused: "not_found".
    """
    row, original = _original(id)
    handled = (
        Attempt.objects.filter(message_id=row.message_id, outcome__in=["handled", "ignored"])
        .exclude(consumer=row.consumer).values_list("consumer", flat=True).distinct()
    )  # fmt: skip
    errors, _ = _check(body, row, original)
    return ResubmitCheck(
        errors=errors, is_open=row.state == DeadLetter.State.OPEN, resolved_by=why_not_open(row) or "",
        handled_elsewhere=tuple(sorted(handled)),
    )  # fmt: skip


def resubmit_dead_letter(
    *,
    id: UUID,
    body: str,
    actor: Actor,
    reason: str,
    audience: Audience = "failed",
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> ResubmitResult:
    """Publish an edited copy as a new message caused by the original.

    It goes to the consumer that failed, unless ``audience`` is "all". The original is resolved in the
    transaction in which the copy is handled, not before. ``headers`` replaces the free headers when given.
    """

    def act() -> dict[str, str]:
        why = checked_reason(reason)
        if audience not in ("failed", "all"):
            raise OperationRefused('audience is "failed" or "all".', code="invalid", field="audience")
        row, original = _original(id, lock=True)
        refusal = why_not_open(row)
        if refusal:
            raise OperationRefused(f"Nothing was sent: the original is {refusal}.", code="conflict")
        checked = _checked_body(body, row, original), _checked_headers(headers, original)
        with tracing.producing("resubmit", is_root=True, links=[original.traceparent]) as made:
            copy = _copy(row, original, *checked)
            made.append(copy)
            _publish(copy, row, audience)
        DeadLetter.objects.filter(id=id, state=DeadLetter.State.OPEN).update(
            state=DeadLetter.State.RESUBMITTING, copy_id=copy.id, resolved_by=actor.name
        )
        audit.record(
            actor, "dead_letter.resubmit", f"dead_letter:{id}", reason=why, request_id=request_id, audience=audience,
            message_id=str(row.message_id), copy_id=str(copy.id), consumer=row.consumer,
        )  # fmt: skip
        transaction.on_commit(_changed, robust=True)
        return {"message_id": str(copy.id)}

    answer = carry_out(
        act, actor=actor, action="dead_letter.resubmit", target=f"dead_letter:{id}",
        question=(id, body, reason, audience, dict(headers or {})), request_id=request_id,
    )  # fmt: skip
    return ResubmitResult(message_id=UUID(answer["message_id"]))


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"dead_letters", "messages", "audit"}))


def _original(id: UUID, *, lock: bool = False) -> tuple[DeadLetter, Message]:
    rows = DeadLetter.objects.select_for_update() if lock else DeadLetter.objects.all()
    row = rows.filter(id=id).first()
    original = Message.objects.filter(id=row.message_id).first() if row else None
    if row is None or original is None:
        raise OperationRefused(f"There is no dead letter {id}, or its message is gone.", code="not_found", field="id")
    return row, original


def _publish(copy: Envelope, row: DeadLetter, audience: Audience) -> None:
    """The consumer that failed gets the copy with the link that resolves the original; the others get it plainly."""
    put([replace(copy, consumer=row.consumer, resolves=row.id)])
    if audience == "all":
        from messaging.models import Subscription

        others = Subscription.objects.filter(type=copy.type).exclude(consumer=row.consumer)
        for consumer in others.values_list("consumer", flat=True).order_by("consumer"):
            store().direct(replace(copy, consumer=consumer))


def _copy(row: DeadLetter, original: Message, body: bytes, headers: dict[str, str]) -> Envelope:
    return Envelope(
        id=new_id(), type=original.type, version=original.version, kind=original.kind, source=original.source,
        tenant=original.tenant, body=body, correlation_id=original.correlation_id, causation_id=str(original.id),
        traceparent=tracing.root_traceparent(), occurred_at=clock.now(), headers=headers, key=original.key,
        position=original.position if row.position is None else row.position,
    )  # fmt: skip


def _checked_headers(headers: Mapping[str, str] | None, original: Message) -> dict[str, str]:
    if headers is None:
        return dict(original.headers)
    if len(headers) > HEADER_LIMIT or any(len(k) > 200 or len(v) > 4000 or not k for k, v in headers.items()):
        raise OperationRefused(
            f"At most {HEADER_LIMIT} headers, names up to 200 and values up to 4,000 characters.",
            code="invalid", field="headers",
        )  # fmt: skip
    return {storable(k): storable(v) for k, v in headers.items()}


def _checked_body(body: str, row: DeadLetter, original: Message) -> bytes:
    errors, data = _check(body, row, original)
    if errors:
        first = errors[0]
        where = f"{first.path}: " if first.path else ""
        raise OperationRefused(f"{where}{first.message}", code="invalid", field=f"body.{first.path}".rstrip("."))
    return exact.dumps(data)


def _check(body: str, row: DeadLetter, original: Message) -> tuple[tuple[FieldError, ...], Any]:
    try:
        data = loads(body.encode("utf-8", "surrogatepass"))
    except Undecodable as error:
        return (FieldError(path=error.field, message=str(error), line=line_of(body, error.field)),), None
    data = redaction.unmask(data, _as_json(_content(original)))
    try:
        model = registry.find(row.type, row.version).model
        if model.contract_version == row.version:
            model.model_validate_json(exact.dumps(data))
        else:
            registry.decode(row.type, row.version, exact.dumps(data))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return tuple(
            FieldError(path=(path := registry.path_of(each["loc"])), message=each["msg"], line=line_of(body, path))
            for each in found
        ), None
    except (UnknownContract, ContractError) as error:
        return (FieldError(path=error.field, message=str(error), line=line_of(body, error.field)),), None
    return (), data


def _content(original: Message) -> bytes:
    try:
        return original.content()
    except (BodyUnavailable, StorageUnavailable) as error:
        raise OperationRefused(f"The original cannot be compared with. {error}", field="body") from error


def _as_json(body: bytes) -> Any:
    try:
        return exact.loads(body)
    except ValueError:
        return None
