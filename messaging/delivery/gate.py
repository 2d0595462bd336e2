"""The gate: what a worker asks before it claims for a consumer with limits, and what it tells afterwards.

The gate's rows are locked for the length of the claim, so that two workers share one bucket, one count of claims and
one probe. A consumer without limits never comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

from django.db.models import F, Q

from messaging import failpoints, limits, policy, signals
from messaging.consumers import Consumer
from messaging.database import store
from messaging.delivery import presence
from messaging.delivery.execution import Execution
from messaging.dependencies import find_dependency
from messaging.limits import Breaker, Bucket, Circuit, Hold, Pass, Rate, Seen
from messaging.models import ConsumerState, Delivery, Gate, Worker
from messaging.settings import options
from messaging.subscriptions import make_gates

_CIRCUIT = [field.name for field in fields(Circuit)]
WHY_LIMIT = 500

_overridden: frozenset[str] = frozenset()
"""Consumers that an operator limited although their code does not; read as a process begins and with each heartbeat."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What came of asking: ``count`` deliveries claimed; none, and ``wait`` seconds until it is worth asking again."""

    count: int
    is_probe: bool = False
    wait: float | None = None


def is_gated(consumer: Consumer) -> bool:
    return consumer.is_gated or consumer.name in _overridden


def refresh() -> None:
    """Read which consumers an operator limited at run time."""
    global _overridden
    rows = Gate.objects.filter(kind=Gate.Kind.CONSUMER, overridden_at__isnull=False)
    _overridden = frozenset(rows.values_list("name", flat=True))


presence.after_beat.append(refresh)


def claim(consumer: Consumer, *, token: UUID, worker: UUID, wanted: int, take: Callable[[int], int]) -> Claim:
    """Claim by ``take``, which is given the most it may and returns how many it got, as far as the limits allow."""
    with failpoints.atomic("gate"):
        rows = _locked(consumer.gates)
        own, now = rows[0], store().now()
        rate, concurrency = in_force(consumer, own)
        bucket = Bucket(tokens=own.tokens, at=own.tokens_at)
        admission = limits.admit(
            wanted=wanted, circuits=[(_circuit(row), _is_probed(row, now)) for row in rows], bucket=bucket, rate=rate,
            concurrency=concurrency, running=0 if concurrency is None else _live_claims(consumer.name), now=now,
        )  # fmt: skip
        match admission:
            case Hold(by=by, until=until):
                Gate.objects.filter(id=own.id).update(**{f"held_by_{by}": F(f"held_by_{by}") + 1})
                return Claim(count=0, wait=max(0.0, (until - now).total_seconds()) if until else None)
            case Pass(limit=limit, is_probe=is_probe):
                count = take(limit)
                if count and rate:
                    left = bucket.taken(rate, count, now)
                    Gate.objects.filter(id=own.id).update(tokens=left.tokens, tokens_at=left.at)
                if count and is_probe:
                    _send_probe(rows, token, worker, now)
                return Claim(count=count, is_probe=bool(count and is_probe))
            case _:
                assert_never(admission)


def report(consumer: Consumer, token: UUID, executions: Sequence[Execution]) -> bool:
    """Tell the breakers what executions of a claim came to; return True when one is not closed now."""
    seen = _seen(consumer, executions)
    if not seen or not _would_change(seen, token):
        return False
    is_shut = is_news = False
    with failpoints.atomic("gate.report"):
        now = store().now()
        for row in _locked(sorted(seen)):
            breaker, what = seen[row.id]
            before = _circuit(row)
            after = limits.observed(before, breaker, what, token=token, now=now)
            if after != before:
                has_opened = after.opened_at is not None and after.open_until != before.open_until
                Gate.objects.filter(id=row.id).update(
                    **asdict(after), times_opened=F("times_opened") + (1 if has_opened else 0)
                )
            is_shut = is_shut or after.opened_at is not None
            is_news = is_news or after.opened_at != before.opened_at
    if is_news:
        signals.changed.send_robust(None, topics=frozenset({"consumers"}))
    return is_shut


def end_probe(token: UUID) -> None:
    """Let the next probe go, should this one have told nothing."""
    Gate.objects.filter(probe_token=token).update(probe_token=None, probe_worker=None, probe_at=None)


def shut() -> frozenset[str]:
    """Return the consumers that an open breaker holds, their own or that of a dependency."""
    held = Gate.objects.filter(opened_at__isnull=False).filter(Q(open_until=None) | Q(open_until__gt=store().now()))
    ids = set(held.values_list("id", flat=True))
    if not ids:
        return frozenset()
    states = ConsumerState.objects.values_list("name", "limits")
    return frozenset(
        name
        for name, declared in states
        if {f"consumer:{name}", *(f"dependency:{each}" for each in declared.get("depends_on", ()))} & ids
    )


def in_force(consumer: Consumer, row: Gate) -> tuple[Rate | None, int | None]:
    """Return rate and concurrency that hold now: an operator's, else those of the code."""
    given = row.override.get("rate_limit")
    rate = Rate.from_json(given) if given else consumer.rate_limit
    return rate, row.override.get("concurrency", consumer.concurrency)


def _locked(ids: Sequence[str]) -> list[Gate]:
    """Lock the rows of ``ids`` in that order, so that nobody deadlocks; make those that are missing."""
    found = list(Gate.objects.select_for_update().filter(id__in=ids).order_by("id"))
    if len(found) < len(ids):
        make_gates(ids)
        found = list(Gate.objects.select_for_update().filter(id__in=ids).order_by("id"))
    return found


def _circuit(row: Gate) -> Circuit:
    return Circuit(**{name: getattr(row, name) for name in _CIRCUIT})


def _is_probed(row: Gate, now: datetime) -> bool:
    """Say whether the probe is out: not when its worker is dead, nor when it lost its claim and never reported."""
    if row.probe_token is None or row.probe_worker is None or row.probe_at is None:
        return False
    stale_before = now - timedelta(seconds=options().stale_after_seconds)
    if not Worker.objects.filter(id=row.probe_worker, heartbeat_at__gte=stale_before).exists():
        return False
    return row.probe_at > stale_before or Delivery.objects.filter(claim_token=row.probe_token).exists()


def _send_probe(rows: Sequence[Gate], token: UUID, worker: UUID, now: datetime) -> None:
    for row in rows:
        if _circuit(row).standing(now) == "half_open":
            Gate.objects.filter(id=row.id).update(probe_token=token, probe_worker=worker, probe_at=now)


def _live_claims(consumer: str) -> int:
    claimed = Delivery.objects.filter(consumer=consumer, claim_token__isnull=False)
    return claimed.order_by().values("claim_token").distinct().count()


def _would_change(seen: dict[str, tuple[Breaker, Seen]], token: UUID) -> bool:
    """Look without a lock: nearly always there is nothing to write."""
    now = store().now()
    rows = {row.id: _circuit(row) for row in Gate.objects.filter(id__in=seen)}
    found = ((rows.get(id, Circuit()), breaker, what) for id, (breaker, what) in seen.items())
    return any(
        circuit.opened_at is not None or limits.observed(circuit, breaker, what, token=token, now=now) != circuit
        for circuit, breaker, what in found
    )


def _seen(consumer: Consumer, executions: Iterable[Execution]) -> dict[str, tuple[Breaker, Seen]]:
    """Sum up, for each breaker concerned, what these executions say of it."""
    tallies: dict[str, dict[str, Any]] = {}
    breakers: dict[str, Breaker] = {}

    def note(id: str, breaker: Breaker, is_failed: bool, error: BaseException | None) -> None:
        breakers[id] = breaker
        tally = tallies.setdefault(id, {"ok": 0, "failed": 0, "why": ""})
        tally["failed" if is_failed else "ok"] += 1
        if is_failed:
            tally["why"] = f"{type(error).__name__}: {error}"[:WHY_LIMIT] if error else "A call failed."

    for execution in executions:
        for name, is_failed in execution.touched.items():
            if declared := find_dependency(name):
                note(f"dependency:{name}", declared.breaker, is_failed, execution.error)
        if consumer.breaker and (verdict := _is_failure(consumer, consumer.breaker, execution)) is not None:
            note(f"consumer:{consumer.name}", consumer.breaker, verdict, execution.error)
    return {id: (breakers[id], Seen(**tally)) for id, tally in tallies.items()}


def _is_failure(consumer: Consumer, breaker: Breaker, execution: Execution) -> bool | None:
    """Say whether it counts against the consumer's breaker; None: it says nothing, as with a poisoned message."""
    if execution.error is None:
        return False
    if not isinstance(execution.error, breaker.counts):
        return None
    decision = policy.decide(execution.error, failures=execution.row.failures, retry=consumer.retry)
    match decision:
        case policy.TryAgain(is_failure=is_failure):
            return True if is_failure else None
        case policy.GiveUp(reason=reason):
            return True if reason == "exhausted" else None
        case policy.Ignore():
            return None
        case _:
            assert_never(decision)
