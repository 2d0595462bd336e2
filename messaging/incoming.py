"""Read what comes from outside: the bus's own JSON form, or a CloudEvents 1.0 structured event."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from messaging.contracts import exact
from messaging.contracts.registry import path_of
from messaging.contracts.strict_json import loads
from messaging.errors import ContractError, Undecodable
from messaging.settings import options

OWN, CLOUDEVENTS = "application/json", "application/cloudevents+json"
_JSON_TYPE = r"^application/(?:[a-z0-9.+-]+\+)?json(?:\s*;.*)?$"
_VERSION_IN_TYPE = re.compile(r"\A(?P<name>.+)\.v(?P<version>[1-9][0-9]{0,8})\Z")
Form = TypeVar("Form", bound=BaseModel)
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class UnsupportedContentType(ContractError):
    """The content type is neither application/json nor application/cloudevents+json."""


class UnknownField(ContractError):
    """The message has a field that this form does not know."""


class TooLarge(ContractError):
    """The message is larger than this bus accepts."""


def _aware(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be a date and time as text, like 2026-11-23T15:00:00Z")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("must name its time zone, like 2026-11-23T15:00:00Z")
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("must be between the years 1970 and 9998")
    return moment


Text = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[datetime, BeforeValidator(_aware)]
Version = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]


class Incoming(BaseModel):
    """A received message before its contract is known. ``data`` is the body as JSON bytes."""

    model_config = ConfigDict(frozen=True)

    type: str
    version: int
    data: bytes
    id: str | None = None
    source: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    occurred_at: datetime | None = None
    expires_at: datetime | None = None
    headers: dict[str, str] = {}

    def digest(self) -> str:
        """Return the hash that tells a repeated message from another one under the same id."""
        parts = (self.type, str(self.version), self.key or "")
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + self.data).hexdigest()


class OwnForm(BaseModel):
    """The body of ``POST /messages``: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")

    type: Text
    version: Version
    data: dict[str, Any]
    id: Text | None = None
    key: Text | None = None
    correlation_id: Text | None = None
    occurred_at: Moment | None = None
    expires_at: Moment | None = None


class CloudEvent(BaseModel):
    """CloudEvents 1.0, structured mode. Extension attributes become headers "ce-<name>"."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Text
    data: dict[str, Any]
    datacontenttype: Annotated[str, Field(pattern=_JSON_TYPE)] = OWN
    dataschema: Text | None = None
    subject: Text | None = None
    time: Moment | None = None
    dataversion: Version | None = None
    partitionkey: Text | None = None
    correlationid: Text | None = None
    expirytime: Moment | None = None


def read(raw: bytes, *, content_type: str) -> Incoming:
    """Read a received message.

    Raises:
        TooLarge, UnsupportedContentType: not even looked into.
        Undecodable: it is not JSON that can be kept.
        ContractError: the form is wrong; ``field`` names the place.
    """
    limit = options().max_body_bytes
    if len(raw) > limit:
        raise TooLarge(f"The message has {len(raw):,} bytes; at most {limit:,} are accepted.")
    kind = content_type.split(";", 1)[0].strip().lower()
    if kind not in {OWN, CLOUDEVENTS}:
        raise UnsupportedContentType(f"The content type {kind!r} is not accepted; use {OWN} or {CLOUDEVENTS}.")
    document = loads(raw)
    if not isinstance(document, dict):
        raise Undecodable("The message must be a JSON object.")
    return _own(document) if kind == OWN else _cloud_event(document)


def _own(document: dict[str, Any]) -> Incoming:
    form = _checked(OwnForm, document)
    return Incoming(
        type=form.type, version=form.version, data=exact.dumps(form.data), id=form.id, key=form.key,
        correlation_id=form.correlation_id, occurred_at=form.occurred_at,
        expires_at=form.expires_at,
    )  # fmt: skip


def _cloud_event(document: dict[str, Any]) -> Incoming:
    event = _checked(CloudEvent, document)
    name, version = event.type, event.dataversion
    match = _VERSION_IN_TYPE.match(name)
    if version is None and match:
        name, version = match["name"], int(match["version"])
    extensions = {f"ce-{k}": _header(k, v) for k, v in (event.model_extra or {}).items()}
    return Incoming(
        type=name, version=version or 1, data=exact.dumps(event.data), id=event.id, source=event.source,
        key=event.partitionkey or event.subject, correlation_id=event.correlationid, occurred_at=event.time,
        expires_at=event.expirytime, headers=extensions,
    )  # fmt: skip


def _header(name: str, value: Any) -> str:
    """CloudEvents extensions are lower-case names with simple values."""
    if not re.fullmatch(r"[a-z0-9]{1,64}", name):
        raise ContractError(f"{name[:100]!r} is no attribute name: CloudEvents allows a-z and 0-9.", field=name[:100])
    if not isinstance(value, str | int | bool) or len(str(value)) > 2000:
        raise ContractError(f"{name} must be text, a whole number or a truth value.", field=name)
    return str(value)


def _checked(form: type[Form], document: dict[str, Any]) -> Form:
    try:
        return form.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = path_of(first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(form.model_fields)
            raise UnknownField(f"{field} is an unknown field; known are {known}.", field=field) from error
        raise ContractError(f"{field}: {first['msg']}.", field=field) from error
