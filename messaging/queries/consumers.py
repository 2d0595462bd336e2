"""Consumers: state, backlog, age of the oldest unhandled delivery, rates from the roll-ups."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, DateTimeField, F, Field, Min, Q, TextField, Value
from django.db.models.functions import Cast

from messaging import clock
from messaging.models import Attempt, ConsumerState, DeadLetter, Delivery, Subscription
from messaging.queries import rates
from messaging.queries.lanes import IS_UNRESOLVED
from messaging.queries.limits import GateRow, gates_of, in_force
from messaging.queries.pages import is_storable
from messaging.queries.shared import consumer_states, once
from messaging.rollups import BATCHES

RATE_WINDOW = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class ConsumerRow:
    name: str
    status: str
    """running, paused, draining (finishing what was there, or paused with deliveries in flight), retired."""
    guarantee: str
    queue: str
    description: str
    handler: str
    policy: dict[str, object]
    is_ordered: bool
    on_failure: str
    """Of an ordered consumer: "block" or "skip" what follows a dead letter with the same key."""
    blocked_keys: int
    filter: dict[str, object] | None
    filtered_last_hour: int
    """Messages that the filter kept out."""
    subscriptions: tuple[str, ...]
    backlog: int
    waiting: int
    """Of the backlog: failed before, due later."""
    running: int
    oldest_at: datetime | None
    """When the oldest unhandled delivery's message was relayed."""
    dead_letters: int
    handled_per_second: float
    """Over the last five minutes."""
    failing_share: float | None
    """Failed attempts over all attempts of the last 15 minutes, 0 to 1; None without attempts."""
    critical_p50_ms: float | None
    critical_p95_ms: float | None
    per_minute: tuple[int, ...]
    """Handled per minute over the last hour, oldest first."""
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    paused_until: datetime | None
    batch_size: int | None
    batch_seconds: float | None
    batch_mean: float | None
    """Handled deliveries for each call of its handler, over the last 15 minutes; None without calls."""
    drain_at: datetime | None
    """What was relayed later waits; it pauses by itself when the rest is done."""
    claims: int
    """Live claims: how many workers run it now."""
    backlog_limit: int | None
    behind_since: datetime | None
    """Since then ingresses refuse what would add to its backlog."""
    limits: dict[str, object]
    """As the code declares them."""
    limits_in_force: dict[str, object]
    """Rate and concurrency that hold now."""
    gate: GateRow | None
    """Breaker and override, where it has either."""


@once
def list_consumers() -> list[ConsumerRow]:
    """Worst first: by dead letters' and failures' rate, then age of the oldest unhandled delivery."""
    return sorted(_read(), key=_badness)


def get_consumer(name: str) -> ConsumerRow | None:
    """Return one consumer, or None when no deploy ever registered it."""
    return next(iter(_read(name)), None) if name and is_storable(name) else None


def _badness(row: ConsumerRow) -> tuple[object, ...]:
    """Order by what hurts: failing now (in whole per cent), what already failed, what waits longest."""
    failing = round(row.failing_share or 0.0, 2)
    oldest = row.oldest_at or datetime.max.replace(tzinfo=UTC)
    return (row.status == "retired", -failing, -row.dead_letters, oldest, row.name)


def _read(name: str = "") -> list[ConsumerRow]:
    """Read every consumer, or one, in four statements."""
    now = clock.now()
    states = [state for state in consumer_states() if name in ("", state.name)]
    owed = _owed(name, now)
    minutes = rates.minutes_until(now, count=rates.HISTORY_MINUTES)
    recent = rates.recent(now, consumer=name)
    tallies: dict[str, list[rates.Tally]] = defaultdict(list)
    for tally in recent.tallies:
        tallies[tally.consumer].append(tally)
    gates = gates_of([state.name for state in states])
    return [
        _row(
            state,
            owed[state.name],
            _rates(tallies[state.name], now, minutes),
            recent.histograms.get(state.name, {}),
            gates.get(state.name),
            now,
        )
        for state in states
    ]


@dataclass
class _Owed:
    """What a consumer takes, what waits for it and what failed."""

    subscriptions: list[str] = field(default_factory=list)
    backlog: int = 0
    waiting: int = 0
    running: int = 0
    claims: int = 0
    oldest_at: datetime | None = None
    dead_letters: int = 0
    blocked_keys: int = 0


def _owed(name: str, now: datetime) -> dict[str, _Owed]:
    """Read that of every consumer, or of one, in one statement."""
    narrow = {"consumer": name} if name else {}
    waits = Q(failures__gt=0, claim_token=None, available_at__gt=now)
    work = Delivery.objects.filter(**narrow).values("consumer").annotate(
        contract=_nothing(TextField()), backlog=Count("message_id"), waiting=Count("message_id", filter=waits),
        running=Count("claim_token"), claims=Count("claim_token", distinct=True), oldest_at=Min("created_at"),
        dead_letters=Value(0), blocked_keys=Value(0),
    )  # fmt: skip
    nothing = {column: Value(0) for column in ("backlog", "waiting", "running", "claims")}
    dead = DeadLetter.objects.filter(IS_UNRESOLVED, **narrow).values("consumer").annotate(
        contract=_nothing(TextField()), **nothing, oldest_at=_nothing(DateTimeField()), dead_letters=Count("id"),
        blocked_keys=Count("key", filter=Q(blocks=True), distinct=True),
    )  # fmt: skip
    taken = Subscription.objects.filter(**narrow).annotate(
        contract=F("type"), **nothing, oldest_at=_nothing(DateTimeField()), dead_letters=Value(0),
        blocked_keys=Value(0),
    )  # fmt: skip
    columns = ("consumer", "contract", *_OWED)
    parts = [rows.order_by().values_list(*columns) for rows in (work, dead, taken)]
    owed: dict[str, _Owed] = defaultdict(_Owed)
    for consumer, contract, *values in parts[0].union(*parts[1:], all=True):
        found = owed[consumer]
        if contract:
            insort(found.subscriptions, contract)
            continue
        for column, value in zip(_OWED, values, strict=True):
            if value:
                setattr(found, column, value)
    return owed


_OWED = ("backlog", "waiting", "running", "claims", "oldest_at", "dead_letters", "blocked_keys")


def _nothing(kind: Field[Any, Any]) -> Cast:
    return Cast(Value(None), kind)


def _rates(tallies: Sequence[rates.Tally], now: datetime, minutes: Sequence[datetime]) -> dict[str, Any]:
    rate_since, failing_since = rates.minute_of(now - RATE_WINDOW), rates.minute_of(now - rates.FAILING_WINDOW)
    handled: dict[datetime, int] = defaultdict(int)
    recent = attempts = failed = calls = done = 0
    for tally in tallies:
        if tally.outcome in rates.HANDLED:
            handled[tally.minute] += tally.count
            recent += tally.count if tally.minute >= rate_since else 0
        if tally.minute >= failing_since:
            attempts += tally.count if tally.outcome in rates.ATTEMPTED else 0
            failed += tally.count if tally.outcome in rates.FAILED else 0
            calls += tally.count if tally.outcome == BATCHES else 0
            done += tally.count if tally.outcome in rates.HANDLED else 0
    return {
        "filtered_last_hour": sum(tally.count for tally in tallies if tally.outcome == Attempt.Outcome.FILTERED),
        "handled_per_second": recent / (now - rate_since).total_seconds(),
        "failing_share": failed / attempts if attempts else None,
        "batch_mean": done / calls if calls else None,
        "per_minute": tuple(handled[minute] for minute in minutes),
    }


def _row(
    state: ConsumerState,
    owed: _Owed,
    measured: Mapping[str, Any],
    buckets: Mapping[str, int],
    gate: GateRow | None,
    now: datetime,
) -> ConsumerRow:
    return ConsumerRow(
        name=state.name,
        status=_status(state, owed.running, now),
        guarantee=state.guarantee,
        queue=state.queue,
        description=state.description,
        handler=state.handler,
        policy=state.policy,
        is_ordered=state.is_ordered,
        on_failure=state.on_failure,
        blocked_keys=owed.blocked_keys,
        filter=state.filter,
        subscriptions=tuple(owed.subscriptions),
        backlog=owed.backlog,
        waiting=owed.waiting,
        running=owed.running,
        oldest_at=owed.oldest_at,
        dead_letters=owed.dead_letters,
        critical_p50_ms=rates.percentile(buckets, 0.5),
        critical_p95_ms=rates.percentile(buckets, 0.95),
        paused_at=state.paused_at,
        paused_by=state.paused_by,
        pause_reason=state.pause_reason,
        paused_until=state.paused_until,
        drain_at=state.drain_at,
        claims=owed.claims,
        backlog_limit=state.backlog_limit,
        behind_since=state.behind_since,
        limits=state.limits,
        limits_in_force=in_force(state.limits, gate),
        gate=gate,
        batch_size=state.batch_size,
        batch_seconds=state.batch_seconds,
        **measured,
    )


def _status(state: ConsumerState, running: int, now: datetime) -> str:
    if state.retired_at:
        return "retired"
    if state.paused_at and (state.paused_until is None or state.paused_until > now):
        return "draining" if running else "paused"
    if state.drain_at:
        return "draining"
    return "running"
