"""ingest(): the one door from outside. REST, brokers and ``manage.py ingest`` all come through here.

What is accepted is published; what repeats is a duplicate; what cannot be published is kept raw and visible:
parked (unknown type or version) or quarantined (undecodable, or against its contract), never raised out of decode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from django.db import transaction

from messaging import failpoints, pressure, signals, tracing
from messaging.contracts.model import MessageModel
from messaging.contracts.registry import validate
from messaging.database import store
from messaging.errors import ContractError, UnknownContract
from messaging.failure import storable
from messaging.incoming import Incoming, read
from messaging.models import QuarantinedMessage, ReceivedMessage
from messaging.publishing import store_envelopes, wrap

Outcome = Literal["accepted", "duplicate", "conflict", "parked", "quarantined"]
Kind = QuarantinedMessage.Kind


@dataclass(frozen=True, kw_only=True)
class Received:
    """What became of one received message. ``problem`` says why it was not accepted."""

    outcome: Outcome
    message_id: UUID | None = None
    quarantine_id: UUID | None = None
    problem: ContractError | None = None


class IdConflict(ContractError):
    """This id was received before with another body."""


def ingest(
    raw: bytes, *, content_type: str, source: str, headers: Mapping[str, str] | None = None, strict: bool = False
) -> Received:
    """Take one message from outside, in a transaction of its own or the caller's.

    ``strict`` is for callers that can be answered (REST): the problem is raised and nothing is stored.

    Raises:
        Backlogged: a consumer that wants it is behind; nothing was stored, the sender should come again.
        ContractError: only when strict; ``field`` names the place. Subclasses tell what it is: Undecodable,
            UnknownContract, IdConflict.
    """
    incoming: Incoming | None = None
    try:
        incoming = read(raw, content_type=content_type)
        with failpoints.atomic("ingest"):
            return _accept(incoming, source=source, headers=headers or {})
    except ContractError as problem:
        if strict:
            raise
        return _set_aside(problem, raw, incoming, content_type=content_type, source=source, headers=headers or {})


def _accept(incoming: Incoming, *, source: str, headers: Mapping[str, str]) -> Received:
    message = _valid(incoming)
    origin = incoming.source or source
    theirs = incoming.headers.get("ce-traceparent", "")  # CloudEvents' extension for distributed tracing
    trace = tracing.use_trace_if_none(theirs, tracestate=incoming.headers.get("ce-tracestate", ""))
    with trace, tracing.producing("ingest", links=[theirs] if tracing.parse(theirs) else None) as envelopes:
        envelope = wrap(
            message, key=incoming.key, headers={**headers, **incoming.headers}, source=origin,
            correlation_id=incoming.correlation_id, occurred_at=incoming.occurred_at,
            expires_at=incoming.expires_at,
        )  # fmt: skip
        if incoming.id:
            earlier = _remember(origin, incoming, envelope.id)
            if earlier is not None:
                return Received(outcome="duplicate", message_id=earlier)
        pressure.check(envelope)  # after the look for a duplicate: what was taken in before stays so
        envelopes.append(envelope)
        store_envelopes(envelopes)
    return Received(outcome="accepted", message_id=envelope.id)


def _valid(incoming: Incoming) -> MessageModel:
    try:
        return validate(incoming.type, incoming.version, incoming.data)
    except UnknownContract:
        raise
    except ContractError as problem:  # named as the sender wrote it: the contract's fields stand below "data"
        text = f"data.{problem}" if problem.field else str(problem)
        raise ContractError(text, field=f"data.{problem.field}".rstrip(".")) from problem


def _remember(source: str, incoming: Incoming, message_id: UUID) -> UUID | None:
    """Note the external id; return the earlier message when it was received before with the same body."""
    assert incoming.id is not None
    digest = incoming.digest()
    row, is_new = ReceivedMessage.objects.get_or_create(
        source=source, external_id=incoming.id,
        defaults={"body_hash": digest, "message_id": message_id, "received_at": store().now()},
    )  # fmt: skip
    if is_new:
        return None
    if row.body_hash != digest:
        raise IdConflict(f"The id {incoming.id!r} of {source} was received before with another body.", field="id")
    return row.message_id


def _set_aside(
    problem: ContractError, raw: bytes, incoming: Incoming | None, *, content_type: str, source: str,
    headers: Mapping[str, str],
) -> Received:  # fmt: skip
    kind = (
        Kind.PARKED if isinstance(problem, UnknownContract)
        else Kind.CONFLICT if isinstance(problem, IdConflict)
        else Kind.QUARANTINED
    )  # fmt: skip
    row = QuarantinedMessage.objects.create(
        kind=kind, source=storable(source)[:200], reason=storable(str(problem)), field=storable(problem.field)[:300],
        type=storable(incoming.type)[:200] if incoming else "",
        version=min(incoming.version, 2**31 - 1) if incoming else None,
        external_id=storable(incoming.id or "")[:200] if incoming else "", content_type=storable(content_type)[:100],
        raw=raw, headers={storable(k): storable(str(v)) for k, v in headers.items()},
        body_hash=hashlib.sha256(raw).hexdigest(), received_at=store().now(),
    )  # fmt: skip
    failpoints.reach("ingest.set_aside")
    transaction.on_commit(lambda: signals.changed.send_robust(None, topics=frozenset({"quarantine"})), robust=True)
    outcome: Outcome = "parked" if kind == Kind.PARKED else "conflict" if kind == Kind.CONFLICT else "quarantined"
    return Received(outcome=outcome, quarantine_id=row.id, problem=problem)


def retry(row: QuarantinedMessage) -> Received:
    """Send a quarantined message through the door again, within the caller's transaction.

    Raises:
        ContractError: it is still refused, and why.
    """
    return ingest(
        bytes(row.raw), content_type=row.content_type, source=row.source, headers=dict(row.headers), strict=True
    )
