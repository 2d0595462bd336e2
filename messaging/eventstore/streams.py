"""Streams: appending with an expected version, and reading back, as of any version or time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F

from messaging import tracing
from messaging.context import STREAM, STREAM_VERSION
from messaging.contracts import registry
from messaging.contracts.model import Event
from messaging.database import store
from messaging.envelope import Envelope
from messaging.errors import ContractError, TransactionRequired, WrongVersion
from messaging.models import EventStream, StoredEvent
from messaging.publishing import store_envelopes, wrap

ANY: Final = -1
"""As the expected version: whatever it is. For streams whose events do not depend on what came before."""
_CATEGORY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_PAGE = 500
_COLUMNS = (
    "stream", "version", "message_id", "type", "type_version", "body", "correlation_id", "causation_id",
    "occurred_at", "recorded_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One event of a stream. ``event`` is decoded when asked for, lifted to today's version of its contract."""

    stream: str
    version: int
    message_id: UUID
    type: str
    type_version: int
    body: bytes
    correlation_id: str
    causation_id: str | None
    occurred_at: datetime
    recorded_at: datetime

    @cached_property
    def event(self) -> Event:
        latest = registry.current(self.type)
        message = registry.decode(self.type, self.type_version, self.body, model=latest.model if latest else None)
        assert isinstance(message, Event)  # append() took it as one
        return message


def append(stream: str, events: Sequence[Event], *, expected: int, tenant: str = "") -> int:
    """Append events to a stream and publish them, all in the caller's transaction; return the stream's version.

    ``stream`` is "category/id". ``expected`` is the version that the decision was made on: 0 for a stream that does
    not exist yet, ANY for whatever it is. The events are published with the stream as their key.

    Raises:
        WrongVersion: somebody appended meanwhile; load again and decide again.
        TransactionRequired: no transaction is open.
        ContractError: the name of the stream or an event is to blame.
    """
    category = category_of(stream)
    for event in events:
        if not isinstance(event, Event):
            raise ContractError(f"append() takes events, not {type(event).__name__}.")
    if not transaction.get_connection().in_atomic_block:
        raise TransactionRequired
    if not events:
        raise ContractError("append() needs at least one event.")
    version = _advance(stream, category, len(events), expected)
    first = version - len(events) + 1
    with tracing.producing("append") as envelopes:
        envelopes += [
            wrap(
                event, key=stream, tenant=tenant,
                headers={STREAM: stream, STREAM_VERSION: str(first + place)},
            )
            for place, event in enumerate(events)
        ]  # fmt: skip
        # Asked after the head is locked, so that a later version never bears an earlier time.
        now = store().now()
        StoredEvent.objects.bulk_create(
            _row(stream, first + place, envelope, now) for place, envelope in enumerate(envelopes)
        )
        store_envelopes(envelopes)
    return version


def read_stream(
    stream: str, *, after: int = 0, at_version: int | None = None, at: datetime | None = None
) -> Iterator[Recorded]:
    """Go through a stream's events in order: those above version ``after``, up to a version or a time.

    ``at`` is the time by which they were recorded, not the time at which they occurred.
    """
    if at is not None and at.tzinfo is None:
        raise ContractError("at= must name its time zone, like datetime(..., tzinfo=UTC).", field="at")
    rows = StoredEvent.objects.filter(stream=stream).order_by("version")
    if at_version is not None:
        rows = rows.filter(version__lte=at_version)
    while page := list(rows.filter(version__gt=after)[:_PAGE].values_list(*_COLUMNS)):
        for values in page:
            one = Recorded(**{**dict(zip(_COLUMNS, values, strict=True)), "body": bytes(values[5])})
            # The rest of the stream, too, even where a clock was set back: a state has no holes in its past.
            if at is not None and one.recorded_at > at:
                return
            yield one
        after = page[-1][1]


def stream_version(stream: str) -> int:
    """Return the version of a stream; 0 when nothing was appended."""
    return EventStream.objects.filter(name=stream).values_list("version", flat=True).first() or 0


def category_of(stream: str) -> str:
    """Return what stands before the first "/" of a stream's name.

    Raises:
        ContractError: it is not "category/id", or longer than 200 characters.
    """
    category, _, identifier = stream.partition("/")
    if not _CATEGORY.fullmatch(category) or not identifier or len(stream) > 200 or "\x00" in stream:
        raise ContractError(f'A stream is named "category/id", like "appointment/42", not {stream!r}.', field="stream")
    return category


def _advance(stream: str, category: str, count: int, expected: int) -> int:
    """Count the stream's version up, if it is as expected; its row stays locked until the transaction ends."""
    if expected < ANY:
        raise ContractError(f"expected={expected} is no version: 0 for a new stream, else that of the load.")
    if expected in (0, ANY) and _is_new(stream, category, count):
        return count
    rows = EventStream.objects.filter(name=stream)
    if expected != ANY:
        rows = rows.filter(version=expected)
    if expected == 0 or not rows.update(version=F("version") + count):
        raise WrongVersion(stream, expected=expected, actual=stream_version(stream))
    return expected + count if expected != ANY else stream_version(stream)


def _is_new(stream: str, category: str, count: int) -> bool:
    # A second transaction that starts the stream waits here for the first one's end.
    connection = transaction.get_connection()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messaging_eventstream (name, category, version) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [stream, category, count],
        )
        return bool(cursor.rowcount == 1)


def _row(stream: str, version: int, envelope: Envelope, now: datetime) -> StoredEvent:
    return StoredEvent(
        stream=stream, version=version, message_id=envelope.id, type=envelope.type, type_version=envelope.version,
        body=envelope.body, correlation_id=envelope.correlation_id, causation_id=envelope.causation_id,
        occurred_at=envelope.occurred_at, recorded_at=now,
    )  # fmt: skip
