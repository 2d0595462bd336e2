"""Commands: sent to exactly one handler, answered if the sender asks, with a timeout if it wants one.

The timeout is a scheduled message to the asker. The reply takes it back in the transaction in which the command was
handled: whoever deletes its row, the reply or the relay that fires it, decides whether the reply came in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from messaging import tracing
from messaging.consumers import Consumer, all_consumers, find_consumer
from messaging.context import IN_REPLY_TO, current_scope
from messaging.contracts.model import Command, Event
from messaging.database import store
from messaging.envelope import Envelope
from messaging.errors import ContractError
from messaging.publishing import Delay, expiry, store_envelopes, wrap
from messaging.scheduling.due import due_time

REPLY_TO, REPLY_TIMEOUT = "reply-to", "reply-timeout"
"""Headers of a command: the consumer that wants the answer, and the message that tells it that none came."""


class ReplyTimedOut(Event, version=1, name="messaging.ReplyTimedOut"):
    """No answer to a command came in time; it may still come, and says then that it is late."""

    command_id: UUID
    command: str
    """The command's contract."""


def send(
    command: Command,
    *,
    key: object | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    tenant: str = "",
    delay: Delay | None = None,
    at: datetime | None = None,
    expires_in: Delay | None = None,
    expires_at: datetime | None = None,
    reply_to: str | Callable[..., Any] | None = None,
    timeout: Delay | None = None,
) -> UUID:
    """Send a command to its one handler in the caller's transaction and return its id; see ``publish``.

    ``reply_to`` is the consumer, its name or handler, that gets what the handler answers with ``reply``. After
    ``timeout``, counted from when the command is due, it gets a ReplyTimedOut instead.

    Raises:
        TransactionRequired: no transaction is open.
        ContractError: it is no command, or ``field`` is to blame.
    """
    if not isinstance(command, Command):
        raise ContractError(f"{type(command).__name__} is no command: use publish() for an event.")
    due_at = due_time(delay=delay, at=at)
    if timeout is not None and reply_to is None:
        raise ContractError("timeout= needs reply_to=, the consumer that is told of it.", field="timeout")
    with tracing.producing("send") as sent:
        envelope = wrap(
            command, key=key, correlation_id=correlation_id, headers=headers, tenant=tenant, due_at=due_at,
            expires_at=expiry(expires_in, expires_at, due_at),
        )  # fmt: skip
        sent.append(envelope)
        told = [envelope] if reply_to is None else _with_timeout(envelope, _asker(reply_to), timeout)
        store_envelopes(told)
    return envelope.id


def reply(event: Event, *, headers: Mapping[str, str] | None = None) -> UUID | None:
    """Answer the command being handled; the event goes only to who asked. None when nobody did.

    The answer is stored with the handler's outcome. One that comes after the asker was told of the timeout is
    delivered all the same, and ``context.reply_status`` says "late".

    Raises:
        ContractError: no command is being handled, or the asker does not take this event.
    """
    scope = current_scope.get()
    if scope is None:
        raise ContractError("reply() answers the command being handled: call it inside the command's handler.")
    if not isinstance(event, Event):
        raise ContractError(f"reply() takes an Event, not {type(event).__name__}.")
    asked = scope.context
    asker = asked.headers.get(REPLY_TO)
    if asker is None:
        return None
    declared = find_consumer(asker)
    if declared is not None and event.contract_name not in declared.accepts:
        raise ContractError(f"{asker} asked for the reply, but does not take {event.contract_name}.", field="reply_to")
    timeout = asked.headers.get(REPLY_TIMEOUT)
    with tracing.producing("reply") as replied:
        envelope = wrap(
            event, key=asked.key, headers={**(headers or {}), IN_REPLY_TO: str(asked.message_id)}, consumer=asker,
            answers=UUID(timeout) if timeout else None,
        )  # fmt: skip
        replied.append(envelope)
        store_envelopes(replied)
    return envelope.id


def _asker(reply_to: str | Callable[..., Any]) -> Consumer:
    named = find_consumer(reply_to) if isinstance(reply_to, str) else None
    found = named or next((each for each in all_consumers() if each.handler is reply_to), None)
    if found is None:
        raise ContractError(f"reply_to={reply_to!r} is no consumer declared here.", field="reply_to")
    return found


def _with_timeout(command: Envelope, asker: Consumer, timeout: Delay | None) -> list[Envelope]:
    if timeout is None:
        return [replace(command, headers={**command.headers, REPLY_TO: asker.name})]
    if ReplyTimedOut.contract_name not in asker.accepts:
        raise ContractError(
            f"{asker.name} must take ReplyTimedOut to be told: @consumer(..., ReplyTimedOut).", field="timeout"
        )
    wait = due_time(delay=timeout, at=None)
    if wait is None:
        raise ContractError("timeout= must be longer than nothing.", field="timeout")
    told = ReplyTimedOut(command_id=command.id, command=command.type)
    timed_out = replace(
        wrap(told, key=command.key, tenant=command.tenant, consumer=asker.name, headers={IN_REPLY_TO: str(command.id)}),
        correlation_id=command.correlation_id, causation_id=str(command.id), due_at=_later(wait, command.due_at),
    )  # fmt: skip
    return [
        replace(command, headers={**command.headers, REPLY_TO: asker.name, REPLY_TIMEOUT: str(timed_out.id)}),
        timed_out,
    ]


def _later(wait: datetime, due_at: datetime | None) -> datetime:
    return wait if due_at is None else wait + max(due_at - store().now(), timedelta(0))
