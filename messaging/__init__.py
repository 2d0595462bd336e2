"""Signalbox's message bus for Django. This is its public face; see docs/tutorial.md."""

from messaging.consumers import consumer
from messaging.context import Context, use_correlation
from messaging.contracts.model import Command, Event
from messaging.contracts.redaction import Sensitive
from messaging.contracts.upcasting import upcast
from messaging.errors import (
    ConfigurationError,
    ContractError,
    MessageExpired,
    MessagingError,
    OperationRefused,
    PermanentError,
    RetryLater,
    TransactionRequired,
)
from messaging.policy import Retry
from messaging.publishing import publish, publish_many
from messaging.scheduling.due import cancel_scheduled

__all__ = [
    "Command", "ConfigurationError", "Context", "ContractError", "Event", "MessageExpired", "MessagingError",
    "OperationRefused", "PermanentError", "Retry", "RetryLater", "Sensitive", "TransactionRequired", "cancel_scheduled",
    "consumer", "publish", "publish_many", "upcast", "use_correlation",
]  # fmt: skip
