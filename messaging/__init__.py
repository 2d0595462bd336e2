"""Signalbox's message bus for Django. This is its public face; see docs/tutorial.md."""

from messaging.commands import ReplyTimedOut, reply, send
from messaging.consumers import Batch, consumer
from messaging.context import BatchContext, Context, use_correlation
from messaging.contracts.model import Command, Event
from messaging.contracts.redaction import Sensitive
from messaging.contracts.upcasting import upcast
from messaging.dependencies import Dependency, dependency
from messaging.errors import (
    BodyUnavailable,
    ConfigurationError,
    ContractError,
    MessageExpired,
    MessageIgnored,
    MessagingError,
    OperationRefused,
    PermanentError,
    RetryLater,
    TransactionRequired,
)
from messaging.limits import Breaker, Rate
from messaging.policy import Retry
from messaging.publishing import publish, publish_many
from messaging.sagas import Saga, SagaData, State, Step, entering, on, starts, timeout, when_all
from messaging.scheduling.due import cancel_scheduled
from messaging.scheduling.recurring import recurring

__all__ = [
    "Batch", "BatchContext", "BodyUnavailable", "Breaker", "Command", "ConfigurationError", "Context",
    "ContractError", "Dependency", "Event", "MessageExpired", "MessageIgnored", "MessagingError",
    "OperationRefused", "PermanentError", "Rate", "ReplyTimedOut", "Retry", "RetryLater", "Saga", "SagaData",
    "Sensitive", "State", "Step", "TransactionRequired", "cancel_scheduled", "consumer", "dependency",
    "entering", "on", "publish", "publish_many", "recurring", "reply", "send", "starts", "timeout", "upcast",
    "use_correlation", "when_all",
]  # fmt: skip
