"""Inject faults on purpose, and end them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import timedelta

from django.db import connection, transaction

from messaging import audit, chaos, signals
from messaging.actors import Actor
from messaging.database import store
from messaging.errors import OperationRefused
from messaging.failure import storable
from messaging.models import ConsumerState, InjectedFault
from messaging.operations.guard import carry_out, checked_reason
from messaging.settings import options

LONGEST = timedelta(hours=24)
LONGEST_DELAY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What shall go wrong: rates from 0 to 1, and a delay. See InjectedFault for each."""

    failure_rate: float = 0.0
    redelivery_rate: float = 0.0
    crash_rate: float = 0.0
    wakeup_loss_rate: float = 0.0
    wakeup_repeat_rate: float = 0.0
    delay_seconds: float = 0.0

    def check(self) -> None:
        """Raise OperationRefused unless every value can be had here, and one at least does something."""
        for field in fields(self):
            value, most = getattr(self, field.name), LONGEST_DELAY_SECONDS if field.name == "delay_seconds" else 1.0
            if not 0 <= value <= most:
                raise OperationRefused(
                    f"{_words(field.name)} must be from 0 to {most:g}.", code="invalid", field=field.name
                )
        if not any(asdict(self).values()):
            raise OperationRefused("Say what shall go wrong: a rate or a delay.", code="invalid", field="failure_rate")
        if self.crash_rate and connection.vendor == "sqlite":
            raise OperationRefused(
                "The embedded process cannot be crashed on purpose: pages and relay would die with it.",
                code="invalid", field="crash_rate",
            )  # fmt: skip


def inject_faults(
    *, consumer: str, faults: Faults, lasts: timedelta, actor: Actor, reason: str, request_id: str | None = None
) -> None:
    """Let things go wrong for a consumer ("*": for every other one) for a while; replaces what was injected before."""

    def act() -> None:
        why, now = checked_reason(reason), store().now()
        _check_is_allowed()
        if not timedelta(seconds=1) <= lasts <= LONGEST:
            raise OperationRefused("Faults last from a second to 24 hours.", code="invalid", field="lasts")
        faults.check()
        name = storable(consumer)[:200]
        if name != chaos.EVERY_CONSUMER and not ConsumerState.objects.filter(name=name).exists():
            raise OperationRefused(
                f"There is no consumer {consumer!r}; * means all.", code="not_found", field="consumer"
            )
        InjectedFault.objects.update_or_create(
            consumer=name,
            defaults={**asdict(faults), "until": now + lasts, "set_at": now, "set_by": actor.name, "reason": why},
        )
        audit.record(
            actor, "faults.inject", f"consumer:{name}", reason=why, request_id=request_id,
            seconds=lasts.total_seconds(), **{key: value for key, value in asdict(faults).items() if value},
        )  # fmt: skip
        _announce()

    carry_out(
        act, actor=actor, action="faults.inject", target=f"consumer:{consumer}",
        question=(consumer, asdict(faults), lasts.total_seconds(), reason), request_id=request_id,
    )  # fmt: skip


def end_faults(*, consumer: str | None = None, actor: Actor, request_id: str | None = None) -> int:
    """End what is injected for a consumer, or everything; return how many rows that were."""

    def act() -> int:
        rows = InjectedFault.objects.all() if consumer is None else InjectedFault.objects.filter(consumer=consumer)
        names = sorted(rows.select_for_update().values_list("consumer", flat=True))
        InjectedFault.objects.filter(consumer__in=names).delete()
        for name in names:
            audit.record(actor, "faults.end", f"consumer:{name}", request_id=request_id)
        _announce()
        return len(names)

    ended: int = carry_out(
        act, actor=actor, action="faults.end", target=f"consumer:{consumer or '*'}", question=(consumer,),
        request_id=request_id,
    )  # fmt: skip
    return ended


def _check_is_allowed() -> None:
    if not options().allow_faults:
        raise OperationRefused(
            "Faults are not allowed on this system. Where no message matters, set SIGNALBOX_ALLOW_FAULTS=1"
            ' (MESSAGING["allow_faults"]) for every process.',
            code="conflict",
        )


def _announce() -> None:
    def announce() -> None:
        chaos.forget()
        signals.changed.send_robust(None, topics=frozenset({"consumers", "audit"}))

    transaction.on_commit(announce, robust=True)


def _words(field: str) -> str:
    return field.replace("_", " ").capitalize()
