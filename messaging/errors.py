"""Every error the bus raises, one tree. A docstring is the error's default message."""

from __future__ import annotations

from datetime import timedelta

from django.db.utils import DatabaseError


class MessagingError(Exception):
    """The message bus could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigurationError(MessagingError):
    """The bus is configured wrongly and refuses to start."""


class TransactionRequired(MessagingError):
    """publish() needs an open transaction: wrap the call and your own writes in transaction.atomic()."""


class ContractError(MessagingError):
    """The message does not satisfy its contract.

    ``field`` is the path of the offending field ("data.items[0].quantity"), empty when the whole
    message is meant.
    """

    def __init__(self, message: str | None = None, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class UnknownContract(ContractError):
    """No contract of this name and version is registered here."""


class Undecodable(ContractError):
    """The bytes are not a message that can be decoded."""


class PermanentError(MessagingError):
    """The handler says that retrying cannot help; the message is dead-lettered at once."""


class WrongVersion(MessagingError):
    """The stream is not at the version that was expected: somebody appended meanwhile.

    Load again and decide again. A consumer that lets it out is retried like for any failure.
    """

    def __init__(self, stream: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at version {actual}, not {expected}: load it again and decide again.")
        self.stream, self.expected, self.actual = stream, expected, actual


class BodyUnavailable(PermanentError):
    """The message's body lies in a storage, and is missing there or not what was published."""


class StorageUnavailable(MessagingError):
    """The storage of large bodies does not answer; try again."""


class MessageExpired(MessagingError):
    """The message expired before a consumer came to it; a replay handles it all the same."""


class RetryLater(MessagingError):
    """The handler asks to be called again later.

    ``after`` is the delay. It costs no failure, so a handler may ask as often as it likes.
    """

    def __init__(self, after: timedelta | float, message: str | None = None) -> None:
        super().__init__(message)
        self.after = after if isinstance(after, timedelta) else timedelta(seconds=after)


class MessageIgnored(MessagingError):
    """The handler has no use for this message: what it wrote is rolled back, and the delivery counts as done."""


class StaleSave(MessagingError, DatabaseError):
    """Another transaction changed this first; inside a handler everything runs again at once, at no cost."""


class SagaNotFound(PermanentError):
    """No saga of this correlation exists, and the message does not start one."""


class UnexpectedInState(PermanentError):
    """The saga is in a state in which this message leads nowhere."""


class CorrelationChanged(PermanentError):
    """A saga's action changed the field by which its messages find it; nothing was saved."""


class StaleClaim(MessagingError):
    """The delivery was taken over while this worker held it; nothing was written."""


class BreakerOpen(MessagingError):
    """A breaker opened while this claim was under way; the rest of it is given back at no cost."""


class Backlogged(MessagingError):
    """The backlog is over its limit; nothing was taken in.

    ``consumers`` names those that are behind, ``retry_after`` is in seconds.
    """

    def __init__(self, consumers: tuple[str, ...] = (), *, retry_after: int = 10) -> None:
        named = ", ".join(consumers) or "a consumer"
        super().__init__(f"The backlog of {named} is over its limit. Nothing was taken in; send it again later.")
        self.consumers = consumers
        self.retry_after = retry_after


class TransportUnavailable(MessagingError):
    """The broker cannot be reached; no attempt was spent."""


class OperationRefused(MessagingError):
    """The operation was refused and nothing was changed.

    ``code`` is a stable word for programs ("not_found", "already_resolved", "forbidden", "invalid"),
    ``field`` names the offending input, if one is to blame.
    """

    def __init__(self, message: str | None = None, *, code: str = "conflict", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field
