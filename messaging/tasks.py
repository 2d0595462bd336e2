"""Celery tasks: the wake-up, and the ticks of the scheduler. Each tick is safe to run twice or in parallel."""

from __future__ import annotations

import gc
import logging

from celery import shared_task
from celery.signals import (
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from django.db import close_old_connections

from messaging import chain, housekeeping, maintenance, pruning, rescue, rollups, signals
from messaging.database.partitions import ensure_partitions
from messaging.delivery import loop
from messaging.delivery.presence import name_session, presence, sign_off
from messaging.eventstore import building
from messaging.replays import advancing as replaying
from messaging.spans import storing
from messaging.wakeups import TASK, wake_quietly

log = logging.getLogger("messaging.tasks")
SCHEDULE: dict[str, float] = {
    "messaging.rescue": 5.0,
    "messaging.fold_rollups": 5.0,
    "messaging.resume_expired_pauses": 5.0,
    "messaging.pause_drained": 5.0,
    "messaging.seal_history": 5.0,
    "messaging.ensure_partitions": 3600.0,
    "messaging.export_anchor": 3600.0,
    "messaging.check_chain": 6 * 3600.0,
    "messaging.prune": 3600.0,
    "messaging.prune_spans": 60.0,
    "messaging.advance_projections": 5.0,
    "messaging.advance_replays": replaying.TICK_SECONDS,
}
"""Scheduled tasks and their interval in seconds; all run on the maintenance queue."""


@shared_task(name=TASK, ignore_result=True, acks_late=False)
def deliver(consumer: str) -> None:
    """Deliver what waits for a consumer; ask to be called again when the time slice ended first."""
    if loop.deliver_waiting(consumer):
        wake_quietly([consumer])


@shared_task(name="messaging.rescue", ignore_result=True)
def rescue_orphans() -> int:
    name_session(presence().id)  # frozen in here, this process would keep what it is rescuing
    return rescue.rescue()


@shared_task(name="messaging.fold_rollups", ignore_result=True)
def fold_rollups() -> int:
    name_session(presence().id)  # frozen in here, it would keep every other fold waiting
    total = 0
    while folded := rollups.fold():
        total += folded
        if folded < rollups.FOLD_BATCH:
            break
    return total


@shared_task(name="messaging.resume_expired_pauses", ignore_result=True)
def resume_expired_pauses() -> int:
    return maintenance.resume_expired_pauses()


@shared_task(name="messaging.pause_drained", ignore_result=True)
def pause_drained() -> int:
    return maintenance.pause_drained()


@shared_task(name="messaging.seal_history", ignore_result=True)
def seal_history() -> int:
    name_session(presence().id)  # frozen in here, it would keep every other sealer waiting
    return chain.seal_everything()


@shared_task(name="messaging.export_anchor", ignore_result=True)
def export_anchor() -> None:
    chain.export_anchors()


@shared_task(name="messaging.check_chain", ignore_result=True)
def check_chain(by: str = "scheduler") -> bool:
    report = chain.check_chain(by=by)
    for problem in report.problems:
        log.error("Audit chain: %s", problem)
    signals.changed.send_robust(None, topics=frozenset({"audit"}))
    return report.is_sound


@shared_task(name="messaging.ensure_partitions", ignore_result=True)
def create_partitions() -> int:
    return ensure_partitions()


@shared_task(name="messaging.prune", ignore_result=True)
def prune() -> dict[str, int]:
    return pruning.prune()


@task_prerun.connect(weak=False)
def _drop_broken_connections(**_: object) -> None:
    """A connection that broke in an earlier task is opened anew; kept connections are otherwise never checked."""
    close_old_connections()


@task_prerun.connect(weak=False)
def _note_begin(task_id: str = "", task: object = None, **_: object) -> None:
    if getattr(task, "name", "") in SCHEDULE:
        housekeeping.begin(task_id)


@task_postrun.connect(weak=False)
def _note_end(
    task_id: str = "", task: object = None, retval: object = None, state: str | None = None, **_: object
) -> None:
    if (name := getattr(task, "name", "")) in SCHEDULE:
        housekeeping.end(task_id, name, is_done=state == "SUCCESS", result=retval)


@worker_init.connect(weak=False)
def _loaded(**_: object) -> None:
    """Have the garbage collector leave alone what was loaded: children share its memory, and collect only their own."""
    gc.collect()
    gc.freeze()


@worker_process_init.connect(weak=False)
def _child_started(**_: object) -> None:
    from django.db import connections

    connections.close_all()  # a socket shared over fork would mix two processes' answers
    presence("worker")


@worker_ready.connect(weak=False)
def _worker_ready(sender: object = None, **_: object) -> None:
    pool = getattr(getattr(sender, "pool", None), "__module__", "")
    if "prefork" not in pool:
        presence("worker")


@worker_shutting_down.connect(weak=False)
def _worker_stopping(**_: object) -> None:
    loop.stopping.set()


@worker_process_shutdown.connect(weak=False)
def _child_stopped(**_: object) -> None:
    sign_off()


@shared_task(name="messaging.prune_spans", ignore_result=True)
def prune_spans() -> int:
    return storing.prune()


@shared_task(name="messaging.advance_projections", ignore_result=True)
def advance_projections() -> int:
    name_session(presence().id)  # frozen in here, it would keep every other builder waiting
    return building.advance_projections()


@shared_task(name="messaging.advance_replays", ignore_result=True)
def advance_replays() -> int:
    name_session(presence().id)  # frozen in here, it would keep every other one waiting
    return replaying.advance_replays()
