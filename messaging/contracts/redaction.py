"""Masking: fields marked Sensitive in a contract are hidden from everyone who may not reveal them."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from messaging.contracts import exact, registry
from messaging.contracts.model import declared
from messaging.errors import UnknownContract

MARK = "__masked__"
SENSITIVE_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"})
_VERSION_IN_TYPE = re.compile(r"\.v\d+\Z")
_ITEM = "*"
_NOTHING: Any = object()


@dataclass(frozen=True)
class Sensitive:
    """Marks a field: ``email: Annotated[str, Sensitive("e-mail")]``."""

    label: str = "hidden"


def mask(name: str, version: int, body: bytes) -> bytes:
    """Return the JSON body with each sensitive value replaced by ``{"__masked__": "e-mail, 21 characters"}``.

    Without sensitive fields, or with a contract unknown here, the body is returned as it is. A body with sensitive
    fields that cannot be read is masked as a whole.
    """
    try:
        paths = sensitive_paths(registry.find(name, version).model)
    except UnknownContract:
        return body
    if not paths:
        return body
    try:
        data = exact.loads(body)
    except ValueError:
        return exact.dumps({MARK: f"unreadable body, {len(body)} bytes"})
    for path, label in paths.items():
        data = _replace(data, path, label)
    return exact.dumps(data)


def mask_model(model: type[BaseModel], data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a model that is no contract with each sensitive value replaced."""
    for path, label in sensitive_paths(model).items():
        data = _replace(data, path, label)
    return data


def mask_received(raw: bytes) -> bytes:
    """Return what an ingress could not take in with the sensitive values below its ``data`` replaced.

    It failed a contract or has a version unknown here, so the sensitive fields of every version are looked for. What
    is no JSON, or of no type known here, is returned as it is.
    """
    try:
        document = exact.loads(raw)
        name = _VERSION_IN_TYPE.sub("", str(document["type"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return raw
    masked = document
    for model in declared.get(name, {}).values():
        for path, label in sensitive_paths(model).items():
            masked = _replace(masked, ("data", *path), label)
    return raw if masked == document else exact.dumps(masked)


def mask_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers with credentials replaced by their length."""
    return {
        name: f"(hidden, {len(str(value))} characters)" if name.lower() in SENSITIVE_HEADERS else value
        for name, value in headers.items()
    }


def unmask(edited: Any, original: Any = _NOTHING) -> Any:
    """Put the original's values back where ``edited`` still carries a mask; a mask without one stays."""
    if isinstance(edited, dict):
        if MARK in edited:
            return edited if original is _NOTHING else original
        source = original if isinstance(original, dict) else {}
        return {key: unmask(value, source.get(key, _NOTHING)) for key, value in edited.items()}
    if isinstance(edited, list):
        # With items added or taken out nobody can tell which hidden value belongs to which mask.
        is_same = isinstance(original, list) and len(original) == len(edited)
        return [unmask(value, original[n] if is_same else _NOTHING) for n, value in enumerate(edited)]
    return edited


@cache
def sensitive_paths(model: type[BaseModel]) -> dict[tuple[str, ...], str]:
    """Return the paths of the sensitive fields with their labels; "*" stands for every item of a list or mapping."""
    return dict(_walk_model(model, (), ()))


def _walk_model(
    model: type[BaseModel], path: tuple[str, ...], seen: tuple[type, ...]
) -> typing.Iterator[tuple[tuple[str, ...], str]]:
    if model in seen:
        return
    for name, field in model.model_fields.items():
        here = (*path, field.alias or name)
        label = next((m.label for m in field.metadata if isinstance(m, Sensitive)), None)
        if label is not None:
            yield here, label
        else:
            yield from _walk_type(field.annotation, here, (*seen, model))


def _walk_type(
    annotation: Any, path: tuple[str, ...], seen: tuple[type, ...]
) -> typing.Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _walk_model(annotation, path, seen)
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        label = next((m.label for m in arguments[1:] if isinstance(m, Sensitive)), None)
        if label is not None:
            yield path, label
            return
        arguments = arguments[:1]
    is_container = origin in (list, tuple, set, frozenset, dict)
    for argument in arguments:
        yield from _walk_type(argument, (*path, _ITEM) if is_container else path, seen)


def _replace(data: Any, path: tuple[str, ...], label: str) -> Any:
    if not path:
        if data is None:
            return None
        size = f", {len(data)} characters" if isinstance(data, str) else ""
        return {MARK: f"{label}{size}"}
    head, rest = path[0], path[1:]
    if isinstance(data, list) and head == _ITEM:
        return [_replace(value, rest, label) for value in data]
    if isinstance(data, dict):
        keys = list(data) if head == _ITEM else [head] if head in data else []
        return {**data, **{key: _replace(data[key], rest, label) for key in keys}}
    return data
