"""What is hashed, byte for byte. A change here breaks every chain: add a kind, never alter one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from django.db import models

from messaging.ids import time_of
from messaging.models import Attempt, AuditRecord, SagaTransition

GENESIS = "0" * 64
"""The previous hash of the first seal."""
ID_BYTES, ENTRY_BYTES = 16, 24
_CHUNK = 1_000

_FIELDS: dict[str, tuple[type[models.Model], tuple[str, ...]]] = {
    "attempt": (
        Attempt,
        (
            "id", "message_id", "consumer", "run", "number", "outcome", "started_at", "duration_us", "worker",
            "next_at", "error_type", "error_message", "location", "traceback", "fingerprint",
        ),
    ),
    "audit": (
        AuditRecord,
        (
            "id", "at", "actor", "actor_kind", "address", "action", "outcome", "target", "reason", "request_id",
            "details",
        ),
    ),
    "saga": (
        SagaTransition,
        (
            "id", "instance", "saga", "correlation", "number", "at", "kind", "rule", "message_id", "message_type",
            "state_before", "state_after", "changes", "messages_out", "timeouts", "completed", "undone", "actor",
            "note",
        ),
    ),
}  # fmt: skip
KINDS = tuple(_FIELDS)


def table_of(kind: str) -> type[models.Model]:
    return _FIELDS[kind][0]


def day_of(identifier: UUID) -> date:
    """Return the day of a record by its id, which is what cuts partitions."""
    moment = time_of(identifier)
    assert moment is not None, "ids of history are UUIDv7"
    return moment.date()


def digests(kind: str, ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """Return the SHA-256 of each record that exists, by id."""
    model, fields = _FIELDS[kind]
    found: dict[UUID, bytes] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        # The bounds let PostgreSQL look into the one partition that can hold them.
        rows = model._default_manager.filter(id__in=chunk, id__gte=min(chunk), id__lte=max(chunk))
        for row in rows.values_list(*fields).iterator(_CHUNK):
            found[row[0]] = _digest(fields, row)
    return found


def _digest(fields: tuple[str, ...], row: tuple[Any, ...]) -> bytes:
    line = json.dumps(dict(zip(fields, row, strict=True)), sort_keys=True, separators=(",", ":"), default=_text)
    return hashlib.sha256(line.encode()).digest()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value)


def pack(ids: Sequence[UUID]) -> bytes:
    return b"".join(identifier.bytes for identifier in ids)


def unpack(packed: bytes | memoryview) -> list[UUID]:
    raw = bytes(packed)
    return [UUID(bytes=raw[at : at + ID_BYTES]) for at in range(0, len(raw), ID_BYTES)]


def pack_entries(found: dict[UUID, bytes], ids: Sequence[UUID]) -> bytes:
    """Return id and shortened digest of each record; one that is gone already keeps a place, to be missed later."""
    return b"".join(identifier.bytes + found.get(identifier, b"\0" * 8)[:8] for identifier in ids)


def unpack_entries(packed: bytes | memoryview) -> Iterator[tuple[UUID, bytes]]:
    raw = bytes(packed)
    for at in range(0, len(raw), ENTRY_BYTES):
        yield UUID(bytes=raw[at : at + ID_BYTES]), raw[at + ID_BYTES : at + ENTRY_BYTES]


def content_hash(found: dict[UUID, bytes], ids: Sequence[UUID]) -> str:
    """Return the hash over the records' digests, in order of their ids."""
    return hashlib.sha256(b"".join(found.get(identifier, b"") for identifier in ids)).hexdigest()


def seal_hash(*, number: int, kind: str, day: date, entries: bytes, content: str, previous: str) -> str:
    """Return the hash of a seal: everything it says, and the seal before."""
    head = f"{previous}|{number}|{kind}|{day.isoformat()}|{content}|".encode()
    return hashlib.sha256(head + bytes(entries)).hexdigest()
