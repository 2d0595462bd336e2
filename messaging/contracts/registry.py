"""The registry of contracts in this process, and the way from stored bytes to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from messaging.contracts import upcasting
from messaging.contracts.model import MessageModel, declared
from messaging.errors import ContractError, UnknownContract


@dataclass(frozen=True)
class Contract:
    """One version of one contract. ``model`` validates and documents it."""

    name: str
    version: int
    kind: str
    model: type[MessageModel]

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of the message's data."""
        return self.model.model_json_schema()


def _contract(model: type[MessageModel]) -> Contract:
    return Contract(model.contract_name, model.contract_version, model.contract_kind, model)


def known() -> list[Contract]:
    """Return every contract, sorted by name and version."""
    return [_contract(versions[v]) for _, versions in sorted(declared.items()) for v in sorted(versions)]


def current(name: str) -> Contract | None:
    """Return the highest version of a contract."""
    versions = declared.get(name)
    return _contract(versions[max(versions)]) if versions else None


def find(name: str, version: int) -> Contract:
    """Return the contract that reads messages of ``version``: itself, or the current one by upcasting.

    Raises:
        UnknownContract: ``field`` is "type" or "version".
    """
    latest = current(name)
    if latest is None:
        raise UnknownContract(f"Unknown type {name!r}: no contract of this name is registered here.", field="type")
    exact = declared[name].get(version)
    if exact:
        return _contract(exact)
    if version < latest.version and upcasting.covers(name, version, latest.version):
        return latest
    raise UnknownContract(
        f"Unknown version {version} of {name}: this release knows {', '.join(str(v) for v in sorted(declared[name]))}.",
        field="version",
    )


def decode(name: str, version: int, body: bytes, *, model: type[MessageModel] | None = None) -> MessageModel:
    """Return the message as an instance of ``model`` (by default the current version), upcast where it is older.

    Raises:
        UnknownContract: no way from ``version`` to the model.
        ContractError: the body does not satisfy the contract.
    """
    target = model or find(name, version).model
    if version == target.contract_version:
        return _validate_json(target, body)
    if not upcasting.covers(name, version, target.contract_version):
        raise UnknownContract(f"No upcaster from {name} v{version} to v{target.contract_version}.", field="version")
    return _validate_python(target, upcasting.apply(name, version, target.contract_version, body))


def validate(name: str, version: int, body: bytes) -> MessageModel:
    """Check that ``body`` is a message of this contract; return it decoded. Raises as ``decode``."""
    return decode(name, version, body, model=find(name, version).model)


def _validate_json(model: type[MessageModel], body: bytes) -> MessageModel:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _contract_error(model, error) from error


def _validate_python(model: type[MessageModel], data: Any) -> MessageModel:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _contract_error(model, error) from error


def _contract_error(model: type[MessageModel], error: ValidationError) -> ContractError:
    first, *more = error.errors(include_url=False, include_input=False, include_context=False)
    field = path_of(first["loc"])
    others = f" (and {len(more)} more)" if more else ""
    where = f"{field}: " if field else ""
    return ContractError(f"{where}{first['msg']}{others}", field=field)


def path_of(location: tuple[int | str, ...]) -> str:
    """Write a pydantic location as operators read it: ("items", 0, "sku") -> "items[0].sku"."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
