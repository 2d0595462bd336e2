"""Ask for a verification of the audit chain."""

from __future__ import annotations

from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import KombuError

from messaging import audit
from messaging.actors import Actor
from messaging.errors import OperationRefused
from messaging.operations.guard import carry_out
from messaging.wakeups import MAINTENANCE_QUEUE

TARGET = "chain:audit"


def request_chain_check(*, actor: Actor, request_id: str | None = None) -> None:
    """Have a worker verify the whole audit chain; its result appears on the audit page and in ``chain_status``.

    Raises:
        OperationRefused: see the package; "unavailable" when the broker takes no task.
    """

    def act() -> None:
        audit.record(actor, "chain.check", TARGET, request_id=request_id)
        transaction.on_commit(partial(_send, actor.name))

    carry_out(act, actor=actor, action="chain.check", target=TARGET, question=(), request_id=request_id)


def _send(name: str) -> None:
    try:
        current_app.send_task(
            "messaging.check_chain", (name,), queue=MAINTENANCE_QUEUE, retry=False, ignore_result=True
        )
    except (KombuError, OSError) as error:
        raise OperationRefused(
            f"The broker did not take the task: {error}. Try again, or run: manage.py audit verify", code="unavailable"
        ) from error
