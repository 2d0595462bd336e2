"""publish(): the caller's transaction stores the message and its outbox row, or neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from messaging import clock, tracing
from messaging.context import PUBLISHED_BY, current_correlation, current_scope, transaction_depth
from messaging.contracts.model import Command, MessageModel
from messaging.database import put, store
from messaging.envelope import Envelope
from messaging.errors import ContractError, TransactionRequired
from messaging.ids import new_id
from messaging.policy import seconds
from messaging.scheduling.due import due_time
from messaging.settings import options

NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # with an even number of backslashes before it, else it is text
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
Delay = str | float | timedelta
TENANT_LIMIT = 100
TEXT_LIMIT = 200
"""Longest key, correlation id and source, in characters."""


def publish(
    message: MessageModel,
    *,
    key: object | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
    tenant: str = "",
    occurred_at: datetime | None = None,
    delay: Delay | None = None,
    at: datetime | None = None,
    expires_in: Delay | None = None,
    expires_at: datetime | None = None,
) -> UUID:
    """Publish an event in the caller's transaction and return its id.

    ``key`` names what the event is about ("order 42"). Inside a handler the correlation and cause are taken
    from the message being handled, and the follow-up is stored when the handler's transaction commits.
    ``delay`` ("10m", seconds, a timedelta) or ``at`` makes it wait; ``cancel_scheduled`` takes it back until then.
    A consumer that has not begun with it ``expires_in`` ("1h") after it was sent, or by ``expires_at``, never does:
    the message is dead-lettered there as expired.

    Raises:
        TransactionRequired: no transaction is open.
        ContractError: the data cannot be stored; ``field`` names it.
    """
    return publish_many(
        [message], key=key, correlation_id=correlation_id, headers=headers, source=source, tenant=tenant,
        occurred_at=occurred_at, delay=delay, at=at, expires_in=expires_in, expires_at=expires_at,
    )[0]  # fmt: skip


def publish_many(
    messages: Iterable[MessageModel],
    *,
    key: object | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
    tenant: str = "",
    occurred_at: datetime | None = None,
    delay: Delay | None = None,
    at: datetime | None = None,
    expires_in: Delay | None = None,
    expires_at: datetime | None = None,
) -> list[UUID]:
    """Publish several events with one statement; see ``publish``."""
    messages = list(messages)
    for message in messages:
        if isinstance(message, Command):
            raise ContractError(f"{message.contract_name} is a command: use send(), which has one handler answer it.")
    due_at = due_time(delay=delay, at=at)
    expires_at = expiry(expires_in, expires_at, due_at)
    with tracing.producing("publish") as envelopes:
        envelopes += [
            wrap(
                message, key=key, correlation_id=correlation_id, headers=headers, source=source, tenant=tenant,
                occurred_at=occurred_at, due_at=due_at, expires_at=expires_at,
            )
            for message in messages
        ]  # fmt: skip
        store_envelopes(envelopes)
    return [envelope.id for envelope in envelopes]


def publish_to(
    consumer: str,
    message: MessageModel,
    *,
    key: object | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    delay: Delay | None = None,
    at: datetime | None = None,
) -> UUID:
    """Publish to one consumer only, whoever else subscribes (a saga's timeout, a reply); see ``publish``."""
    with tracing.producing("publish") as envelopes:
        envelope = wrap(
            message, key=key, correlation_id=correlation_id, headers=headers, consumer=consumer,
            due_at=due_time(delay=delay, at=at),
        )  # fmt: skip
        envelopes.append(envelope)
        store_envelopes(envelopes)
    return envelope.id


def store_envelopes(envelopes: list[Envelope]) -> None:
    """Store envelopes with their outbox rows: at once, or, inside a handler, together with its outcome."""
    scope = current_scope.get()
    # A savepoint of the handler's own may still roll back: what is published inside it must go with it,
    # so only publishes at the handler's own level wait for the bulk insert.
    if scope is not None and transaction_depth() == scope.depth:
        scope.published.extend(envelopes)
    elif not transaction.get_connection().in_atomic_block:
        raise TransactionRequired
    elif envelopes:
        put(envelopes)


def wrap(
    message: MessageModel,
    *,
    key: object | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
    tenant: str = "",
    occurred_at: datetime | None = None,
    expires_at: datetime | None = None,
    **routing: Any,
) -> Envelope:
    """Put a message into its envelope. ``routing`` is where and when it goes: consumer, run, resolves, due_at."""
    if not isinstance(message, MessageModel):
        raise ContractError(f"publish() takes an Event or a Command, not {type(message).__name__}.")
    identifier = new_id()
    scope = current_scope.get()
    return Envelope(
        id=identifier,
        type=message.contract_name,
        version=message.contract_version,
        kind=message.contract_kind,
        source=_text("source", source or options().source),
        tenant=_text("tenant", tenant or (scope.context.tenant if scope else ""), limit=TENANT_LIMIT),
        body=encode(message),
        headers=_headers(headers),
        key=None if key is None else _text("key", str(key)),
        correlation_id=_text("correlation_id", correlation_id or current_correlation() or str(identifier)),
        causation_id=str(scope.context.message_id) if scope else None,
        traceparent=tracing.child_traceparent(),
        occurred_at=occurred_at or clock.now(),
        expires_at=expires_at,
        **routing,
    )


def _headers(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the caller's headers, checked, with the trace's own; what the caller says wins."""
    checked = {_text("headers", k): _text(f"headers.{k}", v, limit=4000) for k, v in (given or {}).items()}
    scope = current_scope.get()
    by = {PUBLISHED_BY: scope.context.consumer} if scope else {}
    return {**tracing.carried(), **by, **checked}


def expiry(expires_in: Delay | None, expires_at: datetime | None, due_at: datetime | None) -> datetime | None:
    """Return when a message expires, on the database's clock; ``expires_in`` counts from its due time.

    Raises:
        ContractError: both are given, a time without a zone, or one before the message is due.
    """
    if expires_at is None:
        return None if expires_in is None else (due_at or store().now()) + timedelta(seconds=seconds(expires_in))
    if expires_in is not None:
        raise ContractError("Give expires_in or expires_at, not both.", field="expires_at")
    if expires_at.tzinfo is None:
        raise ContractError(f"expires_at={expires_at!r} has no time zone.", field="expires_at")
    if due_at and expires_at <= due_at:
        raise ContractError(f"It would expire at {expires_at}, before it is due at {due_at}.", field="expires_at")
    return expires_at


def encode(message: MessageModel) -> bytes:
    """Return the message's data as JSON.

    Raises:
        ContractError: it holds a lone surrogate or a NUL, which no database keeps as text, or it is too large.
    """
    try:
        body = message.__pydantic_serializer__.to_json(message)
    except ValueError as error:
        raise ContractError(f"{message.contract_name} cannot be written as JSON: {error}.") from error
    if rb"\u0000" in body and NUL.search(body):
        raise ContractError(f"{message.contract_name} holds a NUL character, which cannot be stored as text.")
    if len(body) > options().max_body_bytes:
        limit = options().max_body_bytes
        raise ContractError(f"{message.contract_name} is {len(body):,} bytes; at most {limit:,} are allowed.")
    return body


def _text(field: str, value: str, *, limit: int = TEXT_LIMIT) -> str:
    if not isinstance(value, str):
        raise ContractError(f"{field} must be text, not {type(value).__name__}.", field=field)
    if UNSTORABLE.search(value):
        raise ContractError(f"{field} holds a NUL or a lone surrogate; remove it.", field=field)
    if not 0 < len(value) <= limit and field != "tenant" and not field.startswith("headers."):
        raise ContractError(f"{field} must have 1 to {limit} characters, this has {len(value)}.", field=field)
    if len(value) > limit:
        raise ContractError(f"{field} must have at most {limit} characters, this has {len(value)}.", field=field)
    return value
