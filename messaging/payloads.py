"""Claim check: a body that is too large for its row lies in a Django storage, ``STORAGES["signalbox"]``.

It is written before the transaction that publishes it commits: a rollback leaves at most a body without a message,
which the sweep collects. A body is never changed, and it is read back only whole and with its hash.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from messaging.errors import BodyUnavailable, StorageUnavailable
from messaging.ids import time_of
from messaging.settings import options

ALIAS, FOLDER = "signalbox", "bodies"


def is_on() -> bool:
    """Say whether there is a storage for large bodies."""
    return ALIAS in settings.STORAGES


def storage() -> Storage:
    return storages[ALIAS]


def is_large(body: bytes) -> bool:
    """Say whether a body belongs into the storage."""
    return len(body) > options().inline_body_bytes and is_on()


def set_aside(id: UUID, body: bytes) -> dict[str, Any]:
    """Store the body of message ``id`` and return what its row keeps: name, sha256, size in bytes.

    Raises:
        StorageUnavailable: it could not be stored.
    """
    day = time_of(id) or datetime.now(UTC)
    try:
        name = storage().save(f"{FOLDER}/{day:%Y%m%d}/{id.hex}.json", ContentFile(body))
        _flush(name)
    except Exception as error:  # each storage has errors of its own
        raise StorageUnavailable(f"The storage did not take a body of {len(body):,} bytes: {error!r}") from error
    return {"name": name, "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}


def _flush(name: str) -> None:
    """Have a file on the disk before its message can be committed: the database does the same with the row."""
    with suppress(NotImplementedError):  # an object store has no path, and answers when the object is safe
        path = Path(storage().path(name))
        for place in (path, path.parent):
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def content(body: bytes, blob: dict[str, Any] | None) -> bytes:
    """Return a message's body, from its row or from the storage.

    Raises:
        BodyUnavailable: it is gone or not what was stored.
        StorageUnavailable: nobody can say.
    """
    if blob is None:
        return body
    if not is_on():
        raise BodyUnavailable(f'The body lies in a storage, but STORAGES["{ALIAS}"] is not set here.')
    try:
        with storage().open(blob["name"]) as file:
            found = bytes(file.read())
    except FileNotFoundError as error:
        raise BodyUnavailable(f"The body {blob['name']} is missing from the storage.") from error
    except Exception as error:  # each storage has errors of its own
        raise StorageUnavailable(f"The body {blob['name']} could not be read: {error!r}") from error
    if hashlib.sha256(found).hexdigest() != blob["sha256"]:
        raise BodyUnavailable(
            f"The body {blob['name']} was changed: {len(found):,} bytes whose sha256 is not that of the"
            f" {blob['bytes']:,} that were published."
        )
    return found
