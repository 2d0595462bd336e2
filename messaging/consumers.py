"""Consumers: named receivers with a queue and a policy, declared with a decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from messaging.context import Context
from messaging.contracts.model import MessageModel, package_of
from messaging.errors import ConfigurationError
from messaging.policy import Retry
from messaging.settings import options

Guarantee = Literal["exactly_once", "at_least_once", "at_most_once"]
GUARANTEES = ("exactly_once", "at_least_once", "at_most_once")
Handler = Callable[[Any, Context], None]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A consumer as declared. ``accepts`` maps a contract's name to the model its handler wants."""

    name: str
    handler: Handler
    accepts: dict[str, type[MessageModel]]
    guarantee: Guarantee
    given_retry: Retry | None

    @property
    def retry(self) -> Retry:
        """The consumer's own policy, else the default of settings.MESSAGING."""
        if self.given_retry is not None:
            return self.given_retry
        return Retry(immediate=options().retry_immediate, delays=options().retry_delays)

    @property
    def queue(self) -> str:
        """The Celery queue that carries this consumer's wake-ups."""
        return f"signalbox.{self.name}"

    @property
    def path(self) -> str:
        return f"{self.handler.__module__}.{self.handler.__qualname__}"


_consumers: dict[str, Consumer] = {}


def consumer(
    *models: type[MessageModel],
    name: str | None = None,
    guarantee: Guarantee = "exactly_once",
    retry: Retry | None = None,
) -> Callable[[H], H]:
    """Declare a handler as a consumer of one or more contracts.

    exactly_once: the handler's writes, its follow-ups and the outcome share one transaction.
    at_least_once: the handler runs outside a transaction (for calls to other systems); use ``context.idempotency_key``.
    at_most_once: the delivery is settled before the handler runs.

    Raises:
        ConfigurationError: no contract, a wrong guarantee, or a name that is taken.
    """
    given: tuple[object, ...] = models
    if not models or not all(isinstance(model, type) and issubclass(model, MessageModel) for model in given):
        raise ConfigurationError("@consumer(...) needs the event or command classes it handles.")
    if guarantee not in GUARANTEES:
        raise ConfigurationError(f"guarantee={guarantee!r} is none of {', '.join(GUARANTEES)}.")

    def register(handler: H) -> H:
        declared = Consumer(
            name=name or f"{package_of(handler.__module__)}.{handler.__name__}",
            handler=handler,
            accepts={model.contract_name: model for model in models},
            guarantee=guarantee,
            given_retry=retry,
        )
        earlier = _consumers.get(declared.name)
        if earlier and earlier.path != declared.path:
            raise ConfigurationError(
                f"Two consumers are named {declared.name}: {earlier.path} and {declared.path}. Give one a name=."
            )
        declare(declared)
        return handler

    return register


def declare(declared: Consumer) -> None:
    """Put a consumer into the registry; one of its name makes place."""
    _consumers[declared.name] = declared


def all_consumers() -> list[Consumer]:
    """Return every consumer of this process, sorted by name."""
    return [_consumers[name] for name in sorted(_consumers)]


def find_consumer(name: str) -> Consumer | None:
    return _consumers.get(name)


def forget_consumer(name: str) -> None:
    """Take a consumer out of the registry again (for tests that declare their own)."""
    _consumers.pop(name, None)
