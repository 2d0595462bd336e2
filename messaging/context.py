"""What surrounds the code that publishes: the delivery it runs in, or the request it serves."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from django.db import transaction

from messaging.envelope import Envelope

M = TypeVar("M")
TransactionDepth = tuple[bool, int]
IN_REPLY_TO, REPLY_STATUS = "in-reply-to", "reply-status"
"""Headers of an answer."""
PUBLISHED_BY = "published-by"
"""Header of a follow-up: the consumer that published it."""
STREAM, STREAM_VERSION = "stream", "stream-version"
"""Headers of an event that was appended to a stream of the event store."""
_NAMESPACE = uuid.UUID("5f1f2a52-6c1d-5d0e-9f7e-6c6d5349474e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a handler is told about the message beside its body.

    ``attempt`` counts executions of this run from 1; ``run`` is 1 and grows with each replay.
    """

    message_id: uuid.UUID
    type: str
    version: int
    consumer: str
    run: int
    attempt: int
    correlation_id: str
    causation_id: str | None
    key: str | None
    headers: dict[str, str]
    source: str
    tenant: str
    published_at: datetime
    traceparent: str

    @property
    def in_reply_to(self) -> uuid.UUID | None:
        """The command that this answers, or whose answer did not come in time."""
        value = self.headers.get(IN_REPLY_TO)
        return uuid.UUID(value) if value else None

    @property
    def reply_status(self) -> str:
        """Of an answer: "" in time, "late" after its timeout, "repeated" when the command ran and answered again."""
        return self.headers.get(REPLY_STATUS, "")

    @property
    def idempotency_key(self) -> str:
        """Stable over the retries of a run, fresh for a replay: hand it to an external service."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.message_id}:{self.consumer}:{self.run}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What a batch handler is told: a context for each message, in the same order."""

    contexts: tuple[Context, ...]

    def each(self, messages: Iterable[M]) -> Iterator[tuple[M, Context]]:
        """Go through the messages with their contexts; what is published meanwhile is caused by the one at hand.

        It stays in that one's flow and trace. Outside of it follow-ups belong to the flow of the batch's first
        message, and to the trace of the batch, whose span is linked to all of its messages.
        """
        scope = current_scope.get()
        try:
            for place, (message, context) in enumerate(zip(messages, self.contexts, strict=True)):
                if scope is not None:
                    scope.context = context
                    scope.at_hand = scope.members[place] if scope.members else ""
                yield message, context
        finally:
            if scope is not None:
                scope.context, scope.at_hand = self.contexts[0], ""


@dataclass(slots=True)
class Scope:
    """One delivery under way: its context, and the follow-ups it has published so far."""

    context: Context
    depth: TransactionDepth
    """Transaction depth at which the handler was called, see ``transaction_depth``."""
    published: list[Envelope] = field(default_factory=list)
    depends_on: tuple[str, ...] = ()
    touched: dict[str, bool] = field(default_factory=dict)
    """Dependencies that the handler called so far, and whether a call failed."""
    members: tuple[str, ...] = ()
    """Of a batch whose spans are made: the traceparent of each message's handling."""
    at_hand: str = ""
    """Which of them ``BatchContext.each`` is at."""


def transaction_depth() -> TransactionDepth:
    """Return whether a transaction is open and how many savepoints it has."""
    connection = transaction.get_connection()
    return connection.in_atomic_block, len(connection.savepoint_ids)


current_scope: ContextVar[Scope | None] = ContextVar("current_scope", default=None)
_correlation: ContextVar[str | None] = ContextVar("correlation_id", default=None)
incoming_trace: ContextVar[str | None] = ContextVar("incoming_trace", default=None)
"""The traceparent that the request being served came with."""
incoming_carried: ContextVar[dict[str, str] | None] = ContextVar("incoming_carried", default=None)
"""The tracestate and baggage that it came with."""


@contextmanager
def use_correlation(correlation_id: str) -> Iterator[None]:
    """Everything published inside belongs to this business flow, unless it says otherwise."""
    token = _correlation.set(correlation_id)
    try:
        yield
    finally:
        _correlation.reset(token)


def current_correlation() -> str | None:
    scope = current_scope.get()
    return scope.context.correlation_id if scope else _correlation.get()
