"""Note the last run of each of the scheduler's own tasks, so that an operator sees that it runs."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.db.models import F
from django.db.utils import DatabaseError, InterfaceError

from messaging.database import store
from messaging.delivery.presence import presence
from messaging.failure import storable
from messaging.models import Housekeeping

log = logging.getLogger("messaging.housekeeping")
_began: dict[str, tuple[datetime, float]] = {}


def begin(run: str) -> None:
    """Note that a run of a task begins; ``run`` is Celery's id of it."""
    try:
        _began[run] = (store().now(), time.perf_counter())
    except (DatabaseError, InterfaceError) as error:
        log.warning("The start of a task could not be noted: %s", error)


def end(run: str, name: str, *, is_done: bool, result: object) -> None:
    """Note how the run ended."""
    began = _began.pop(run, None)
    if began is None:
        return
    started_at, at = began
    values = {
        "started_at": started_at, "duration_us": int((time.perf_counter() - at) * 1_000_000),
        "outcome": "done" if is_done else "failed", "result": "" if result is None else storable(str(result))[:500],
        "process": presence().name,
    }  # fmt: skip
    try:
        if not Housekeeping.objects.filter(name=name).update(**values, runs=F("runs") + 1):
            Housekeeping.objects.get_or_create(name=name, defaults={**values, "runs": 1})
    except (DatabaseError, InterfaceError) as error:  # the task itself is done: its note must not fail it
        log.warning("The run of %s could not be noted: %s", name, error)
