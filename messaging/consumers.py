"""Consumers: named receivers with a queue and a policy, declared with a decorator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

from messaging import filters
from messaging.context import BatchContext, Context
from messaging.contracts.model import MessageModel, package_of
from messaging.errors import ConfigurationError
from messaging.limits import Breaker, Rate
from messaging.policy import Retry, seconds
from messaging.settings import options

Guarantee = Literal["exactly_once", "at_least_once", "at_most_once"]
GUARANTEES = ("exactly_once", "at_least_once", "at_most_once")
OnFailure = Literal["block", "skip"]
ON_FAILURE = ("block", "skip")
Handler = Callable[[Any, Context], None] | Callable[[list[Any], BatchContext], None]
LARGEST_BATCH = 400
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Call the handler with a list: of ``size`` messages, or of what there is when the oldest waited ``seconds``."""

    size: int = 100
    seconds: str | float | timedelta = 2

    def __post_init__(self) -> None:
        if not 1 <= self.size <= LARGEST_BATCH:
            raise ConfigurationError(f"Batch(size={self.size}) must be 1 to {LARGEST_BATCH}.")
        seconds(self.seconds)

    @property
    def wait(self) -> float:
        """The longest wait for company, in seconds."""
        return seconds(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A consumer as declared. ``accepts`` maps a contract's name to the model its handler wants."""

    name: str
    handler: Handler
    accepts: dict[str, type[MessageModel]]
    guarantee: Guarantee
    given_retry: Retry | None
    backlog_limit: int | None = None
    batch: Batch | None = None
    breaker: Breaker | None = None
    concurrency: int | None = None
    depends_on: tuple[str, ...] = ()
    rate_limit: Rate | None = None
    filter: dict[str, Any] | None = None
    is_ordered: bool = False
    on_failure: OnFailure = "block"
    """Of an ordered consumer: whether what follows a dead letter with the same key waits for its repair."""

    @property
    def retry(self) -> Retry:
        """The consumer's own policy, else the default of settings.MESSAGING."""
        if self.given_retry is not None:
            return self.given_retry
        given = options()
        return Retry(immediate=given.retry_immediate, delays=given.retry_delays, jitter=given.retry_jitter)

    @property
    def is_gated(self) -> bool:
        """Whether a worker asks the gate before it claims."""
        return bool(self.breaker or self.rate_limit or self.concurrency or self.depends_on)

    @property
    def gates(self) -> tuple[str, ...]:
        """Ids of the gates it passes before a claim: its own, which sorts first, and its dependencies'."""
        return (f"consumer:{self.name}", *(f"dependency:{name}" for name in sorted(self.depends_on)))

    @property
    def limits(self) -> dict[str, Any]:
        """The declared limits as an operator reads them; empty without any."""
        described = {
            "breaker": self.breaker.describe() if self.breaker else None,
            "rate_limit": self.rate_limit.describe() if self.rate_limit else None,
            "concurrency": self.concurrency,
            "depends_on": list(self.depends_on),
            "backlog_limit": self.backlog_limit,
        }
        return {name: value for name, value in described.items() if value}

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
    backlog_limit: int | None = None,
    batch: Batch | None = None,
    breaker: Breaker | None = None,
    concurrency: int | None = None,
    depends_on: tuple[str, ...] = (),
    rate_limit: Rate | None = None,
    filter: Mapping[str, Any] | None = None,
    ordered: bool = False,
    on_failure: OnFailure | None = None,
) -> Callable[[H], H]:
    """Declare a handler as a consumer of one or more contracts.

    exactly_once: the handler's writes, its follow-ups and the outcome share one transaction.
    at_least_once: the handler runs outside a transaction (for calls to other systems); use ``context.idempotency_key``.
    at_most_once: the delivery is settled before the handler runs.
    ``batch``: the handler is called as ``(events: list, batch: BatchContext)``.
    ``breaker``, ``rate_limit``, ``concurrency`` (claims at once) and the breakers of ``depends_on`` hold for all
    workers together. Above ``backlog_limit`` deliveries, ingresses refuse what would add to them.

    ``filter`` keeps messages out that the consumer does not want, see messaging.filters. ``ordered`` runs messages
    with the same key one after another, in the order of their commits; ``on_failure`` says whether a dead letter
    holds those after it ("block", the default) or they go on ("skip").

    Raises:
        ConfigurationError: no contract, a wrong guarantee, limit, filter or order, or a name that is taken.
    """
    given: tuple[object, ...] = models
    if not models or not all(isinstance(model, type) and issubclass(model, MessageModel) for model in given):
        raise ConfigurationError("@consumer(...) needs the event or command classes it handles.")
    if guarantee not in GUARANTEES:
        raise ConfigurationError(f"guarantee={guarantee!r} is none of {', '.join(GUARANTEES)}.")
    _check_order(guarantee, on_failure, ordered=ordered, in_batches=batch is not None)
    wanted = None if filter is None else _checked_filter(filter, models)

    if any(len(each) == 1 for each in depends_on):
        raise ConfigurationError(f'depends_on={depends_on!r} must be a tuple of names: depends_on=("card-provider",).')
    for limit, number in (("concurrency", concurrency), ("backlog_limit", backlog_limit)):
        if number is not None and number < 1:
            raise ConfigurationError(f"{limit}={number} must be at least 1.")

    def register(handler: H) -> H:
        declared = Consumer(
            name=name or f"{package_of(handler.__module__)}.{handler.__name__}",
            handler=handler,
            accepts={model.contract_name: model for model in models},
            guarantee=guarantee,
            given_retry=retry,
            backlog_limit=backlog_limit,
            batch=batch,
            breaker=breaker,
            concurrency=concurrency,
            depends_on=tuple(depends_on),
            rate_limit=rate_limit,
            filter=wanted,
            is_ordered=ordered,
            on_failure=on_failure or "block",
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


def _check_order(guarantee: str, on_failure: str | None, *, ordered: bool, in_batches: bool) -> None:
    if on_failure is not None and on_failure not in ON_FAILURE:
        raise ConfigurationError(f"on_failure={on_failure!r} is none of {', '.join(ON_FAILURE)}.")
    if on_failure is not None and not ordered:
        raise ConfigurationError("on_failure= says what happens to the order: it needs ordered=True.")
    if ordered and guarantee == "at_most_once":
        raise ConfigurationError(
            "ordered=True does not go with guarantee='at_most_once': such a delivery is settled before its handler"
            " runs, so the next one of its key could overtake it. Use exactly_once or at_least_once."
        )
    if ordered and in_batches:
        raise ConfigurationError(
            "ordered=True does not go with batch=: a batch that fails runs again in halves, which parts the messages"
            " of a key. Leave one of them out; an ordered consumer shares commits anyway."
        )


def _checked_filter(given: Mapping[str, Any], models: tuple[type[MessageModel], ...]) -> dict[str, Any]:
    wanted = filters.checked(given)
    fields = {name for model in models for name in model.model_fields}
    for name in sorted(filters.body_fields(wanted) - fields):
        known = ", ".join(model.contract_name for model in models)
        raise ConfigurationError(
            f"filter: {name!r} is no field of {known}; fields are {', '.join(sorted(fields))}. Headers are"
            ' "headers.<name>", the envelope is "envelope.<field>".'
        )
    return wanted


def all_consumers() -> list[Consumer]:
    """Return every consumer of this process, sorted by name."""
    return [_consumers[name] for name in sorted(_consumers)]


def find_consumer(name: str) -> Consumer | None:
    return _consumers.get(name)


def forget_consumer(name: str) -> None:
    """Take a consumer out of the registry again (for tests that declare their own)."""
    _consumers.pop(name, None)
