"""Events and commands as users declare them: frozen pydantic models with a name, a version and a kind."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from messaging.errors import ConfigurationError

EventKind = Literal["notification", "integration", "domain"]


def package_of(module: str) -> str:
    """Return the name a module's contracts and consumers go under: "examples.shop.events" -> "shop"."""
    parts = module.split(".")
    return parts[-2] if len(parts) > 1 else parts[0]


class MessageModel(BaseModel):
    """What events and commands share. Unknown fields are refused; NaN and infinities are no numbers."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # their text ends up in tracebacks and logs, which nobody masks
    )

    contract_name: ClassVar[str] = ""
    contract_version: ClassVar[int] = 0
    contract_kind: ClassVar[str] = ""

    def __init_subclass__(
        cls, *, version: int = 1, name: str | None = None, kind: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if version < 1:
            raise ConfigurationError(f"{cls.__qualname__}: version={version!r} must be 1 or more.")
        cls.contract_name = name or f"{package_of(cls.__module__)}.{cls.__name__}"
        cls.contract_version = version
        cls.contract_kind = kind or cls.contract_kind

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__module__ != __name__:
            _declare(cls)


declared: dict[str, dict[int, type[MessageModel]]] = {}
"""Every contract of this process: by name, then by version."""


def _declare(model: type[MessageModel]) -> None:
    versions = declared.setdefault(model.contract_name, {})
    earlier = versions.setdefault(model.contract_version, model)
    if (earlier.__module__, earlier.__qualname__) != (model.__module__, model.__qualname__):
        raise ConfigurationError(
            f"Contract {model.contract_name} v{model.contract_version} is declared twice, in {earlier.__module__} and"
            f" {model.__module__}. Give one of them another name= or version=."
        )
    versions[model.contract_version] = model


class Event(MessageModel):
    """A fact in the past tense: immutable, published to whoever subscribes."""

    contract_kind: ClassVar[str] = "domain"


class Command(MessageModel):
    """A request in the imperative, for exactly one handler.

    ``handled_by`` names the service (``MESSAGING["source"]``) whose consumer it is, when that is another one.
    """

    contract_kind: ClassVar[str] = "command"
    contract_handled_by: ClassVar[str] = ""

    def __init_subclass__(cls, *, handled_by: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.contract_handled_by = handled_by or cls.contract_handled_by
