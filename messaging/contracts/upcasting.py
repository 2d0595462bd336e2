"""Upcasters lift the data of an old version by one version, so that today's consumers read yesterday's messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from messaging.contracts.model import MessageModel
from messaging.errors import ConfigurationError, ContractError

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
_upcasters: dict[tuple[str, int], Upcaster] = {}


def upcast(model: type[MessageModel], *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register a function from the data of ``from_version`` to the data of the version after it."""

    def register(function: Upcaster) -> Upcaster:
        slot = (model.contract_name, from_version)
        if slot in _upcasters and _upcasters[slot].__qualname__ != function.__qualname__:
            raise ConfigurationError(f"{model.contract_name} has two upcasters from version {from_version}.")
        _upcasters[slot] = function
        return function

    return register


def covers(name: str, version: int, target: int) -> bool:
    """Say whether every step from ``version`` up to ``target`` has an upcaster."""
    return 0 < version <= target and all((name, step) in _upcasters for step in range(version, target))


def apply(name: str, version: int, target: int, body: bytes) -> dict[str, Any]:
    """Return the data of ``body`` lifted to ``target``.

    Raises:
        ContractError: the old data lacks what an upcaster needs.
    """
    data = json.loads(body)
    for step in range(version, target):
        try:
            data = dict(_upcasters[name, step](data))
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ContractError(f"Upcasting {name} from v{step} failed: {error!r}.") from error
    return dict(data)
