"""The class that a user derives from, and the registry of what was derived."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from messaging.consumers import consumer, forget_consumer
from messaging.contracts.model import MessageModel, package_of
from messaging.errors import ConfigurationError
from messaging.sagas.declaring import POLICIES, SagaData
from messaging.sagas.definition import Definition, define
from messaging.sagas.messages import INTERNAL

if TYPE_CHECKING:
    from messaging.context import Context

D = TypeVar("D", bound=SagaData)
_sagas: dict[str, type[Saga[Any]]] = {}
_POLICIES = ("not_found", "wrong_state", "defer_for")


class Saga(Generic[D]):
    """A workflow that remembers: derive from ``Saga[YourData]`` and declare states, steps and methods.

    ``correlation`` is the field of the data, and by default of each message, by which a message finds its saga.
    ``not_found`` and ``wrong_state`` are "ignore", "defer" (for at most ``defer_for``) or "dead_letter". The other
    options are those of ``@consumer``: a saga is a consumer of its name.
    """

    definition: ClassVar[Definition]
    data: D

    def __init__(self, *, correlation: str, state: str, context: Context | None, answers: list[str]) -> None:
        self.correlation = correlation
        self.state = state
        self._context = context
        self._answers = answers

    def __init_subclass__(cls, *, correlation: str = "", name: str | None = None, **options: Any) -> None:
        super().__init_subclass__()
        policies = {key: options.pop(key) for key in _POLICIES if key in options}
        full_name = name or f"{package_of(cls.__module__)}.{cls.__name__}"
        if any(policies.get(key, POLICIES[0]) not in POLICIES for key in _POLICIES[:2]):
            raise ConfigurationError(f"{full_name}: not_found= and wrong_state= are one of {', '.join(POLICIES)}.")
        if options.get("guarantee", "exactly_once") != "exactly_once" or "batch" in options:
            raise ConfigurationError(f"{full_name}: a saga is exactly_once and takes its messages one by one.")
        cls.definition = define(cls, data=_data_of(cls), correlation=correlation, name=full_name, **policies)
        consumer(*cls.definition.models(), *INTERNAL, name=full_name, **options)(_handler(cls))
        _sagas[full_name] = cls

    @property
    def context(self) -> Context:
        """What surrounds the message at hand."""
        assert self._context is not None
        return self._context

    def ask_again(self, model: type[MessageModel]) -> None:
        """Let a message that came already be waited for anew by ``when_all``."""
        if model.contract_name in self._answers:
            self._answers.remove(model.contract_name)


def _data_of(cls: type) -> type[SagaData]:
    for base in getattr(cls, "__orig_bases__", ()):
        for argument in typing.get_args(base):
            if isinstance(argument, type) and issubclass(argument, SagaData):
                return argument
    raise ConfigurationError(f"{cls.__name__} needs a data model: class {cls.__name__}(Saga[YourData]), a SagaData.")


def _handler(cls: type[Saga[Any]]) -> Any:
    def handle(message: Any, context: Context) -> None:
        from messaging.sagas.engine import handle_message

        handle_message(cls, message, context)

    # Pages, errors and the check of double names speak of the class.
    handle.__module__, handle.__qualname__, handle.__doc__ = cls.__module__, cls.__qualname__, cls.__doc__
    handle.saga = cls  # type: ignore[attr-defined]
    return handle


def all_sagas() -> list[type[Saga[Any]]]:
    """Return every saga of this process, sorted by name."""
    return [_sagas[name] for name in sorted(_sagas)]


def find_saga(name: str) -> type[Saga[Any]] | None:
    return _sagas.get(name)


def forget_saga(name: str) -> None:
    """Take a saga out of the registry again (for tests that declare their own)."""
    _sagas.pop(name, None)
    forget_consumer(name)
