"""Collect large bodies that belong to no message: of publishes that rolled back, and of history past its retention."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from messaging import failpoints, payloads
from messaging.ids import time_of
from messaging.models import Message

log = logging.getLogger("messaging.maintenance")
GRACE = timedelta(days=1)
"""A body is older before it counts as without a message: longer than any transaction that may still commit one."""
LOOK_BACK = 3
"""Days before that are searched for what rolled-back publishes left; what is missed leaves with its whole day."""
BATCH = 500


def sweep_bodies(now: datetime, *, keep_from: datetime) -> int:
    """Delete bodies without a message; return how many. Days that retention has begun on, and the last few."""
    if not payloads.is_on():
        return 0
    removed = 0
    try:
        for day in _days(now, keep_from):
            for names in _batches(day):
                removed += _sweep(day, names, before=now - GRACE)
    except Exception as error:  # noqa: BLE001  each storage has errors of its own; the next sweep finds the same bodies
        log.warning("Large bodies were not swept: %r", error)
    return removed


def _days(now: datetime, keep_from: datetime) -> list[str]:
    recent = {f"{now - GRACE - timedelta(days=back):%Y%m%d}" for back in range(LOOK_BACK)}
    try:
        found, _ = payloads.storage().listdir(payloads.FOLDER)
    except FileNotFoundError:  # nothing large was ever published
        return []
    return sorted(day for day in found if day in recent or day <= f"{keep_from:%Y%m%d}")


def _batches(day: str) -> Iterator[list[str]]:
    _, files = payloads.storage().listdir(f"{payloads.FOLDER}/{day}")
    for start in range(0, len(files), BATCH):
        yield files[start : start + BATCH]


def _sweep(day: str, names: list[str], *, before: datetime) -> int:
    ids = {name: UUID(name[:32]) for name in names}
    old = {name: id for name, id in ids.items() if (time_of(id) or before) < before}
    kept = set(Message.objects.filter(id__in=old.values()).values_list("id", flat=True))
    orphans = [name for name, id in old.items() if id not in kept]
    for name in orphans:
        payloads.storage().delete(f"{payloads.FOLDER}/{day}/{name}")
        failpoints.reach("body.removed")
    return len(orphans)
