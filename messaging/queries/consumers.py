"""Consumers: state, backlog, age of the oldest unhandled delivery, rates from the roll-ups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q

from messaging import clock
from messaging.models import Attempt, ConsumerState, DeadLetter, Delivery, Subscription
from messaging.queries import lanes, rates
from messaging.queries.lanes import IS_UNRESOLVED
from messaging.queries.limits import GateRow, gates_of, in_force
from messaging.queries.pages import is_storable
from messaging.queries.shared import consumer_states, once
from messaging.rollups import BATCHES

RATE_WINDOW = timedelta(minutes=5)
FAILING_WINDOW = timedelta(minutes=15)
HISTORY_MINUTES = 60


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


def count_backlogs(names: Sequence[str]) -> dict[str, int]:
    """Count what waits for these consumers, those without anything left out."""
    waiting = Delivery.objects.filter(consumer__in=names)
    return dict(waiting.values_list("consumer").annotate(Count("message_id")).order_by())


def _badness(row: ConsumerRow) -> tuple[object, ...]:
    """Order by what hurts: failing now (in whole per cent), what already failed, what waits longest."""
    failing = round(row.failing_share or 0.0, 2)
    oldest = row.oldest_at or datetime.max.replace(tzinfo=UTC)
    return (row.status == "retired", -failing, -row.dead_letters, oldest, row.name)


def _read(name: str = "") -> list[ConsumerRow]:
    """Read every consumer, or one, in eight statements."""
    now = clock.now()
    states = ConsumerState.objects.filter(name=name) if name else consumer_states()
    narrow = {"consumer": name} if name else {}
    subscriptions: dict[str, list[str]] = defaultdict(list)
    for consumer, contract in Subscription.objects.filter(**narrow).order_by("type").values_list("consumer", "type"):
        subscriptions[consumer].append(contract)
    work = _work(now, narrow)
    dead = dict(
        DeadLetter.objects.filter(IS_UNRESOLVED, **narrow).values_list("consumer").annotate(Count("id")).order_by()
    )
    blocked = lanes.count_blocked_keys(name)
    minutes = rates.minutes_until(now, count=HISTORY_MINUTES)
    tallies: dict[str, list[rates.Tally]] = defaultdict(list)
    # From a minute before: the same read as that of the charts beside the list.
    for tally in rates.tallies(since=minutes[0] - timedelta(minutes=1), consumer=name):
        if tally.minute >= minutes[0]:
            tallies[tally.consumer].append(tally)
    gates = gates_of([state.name for state in states])
    histograms = rates.histograms(since=now - FAILING_WINDOW, by="consumer", consumer=name)
    return [
        _row(
            state,
            tuple(subscriptions[state.name]),
            work.get(state.name, {}),
            dead.get(state.name, 0),
            _rates(tallies[state.name], now, minutes),
            histograms.get(state.name, {}),
            gates.get(state.name),
            blocked.get(state.name, 0),
            now,
        )
        for state in states
    ]


def _work(now: datetime, narrow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    rows = (
        Delivery.objects.filter(**narrow)
        .values("consumer")
        .annotate(
            backlog=Count("message_id"),
            waiting=Count("message_id", filter=Q(failures__gt=0, claim_token=None, available_at__gt=now)),
            running=Count("claim_token"),
            claims=Count("claim_token", distinct=True),
            oldest_at=Min("created_at"),
        )
        .order_by()
    )
    return {row["consumer"]: dict(row) for row in rows}


def _rates(tallies: Sequence[rates.Tally], now: datetime, minutes: Sequence[datetime]) -> dict[str, Any]:
    rate_since, failing_since = rates.minute_of(now - RATE_WINDOW), rates.minute_of(now - FAILING_WINDOW)
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
    subscriptions: tuple[str, ...],
    work: Mapping[str, Any],
    dead_letters: int,
    measured: Mapping[str, Any],
    buckets: Mapping[str, int],
    gate: GateRow | None,
    blocked_keys: int,
    now: datetime,
) -> ConsumerRow:
    running = work.get("running", 0)
    return ConsumerRow(
        name=state.name,
        status=_status(state, running, now),
        guarantee=state.guarantee,
        queue=state.queue,
        description=state.description,
        handler=state.handler,
        policy=state.policy,
        is_ordered=state.is_ordered,
        on_failure=state.on_failure,
        blocked_keys=blocked_keys,
        filter=state.filter,
        subscriptions=subscriptions,
        backlog=work.get("backlog", 0),
        waiting=work.get("waiting", 0),
        running=running,
        oldest_at=work.get("oldest_at"),
        dead_letters=dead_letters,
        critical_p50_ms=rates.percentile(buckets, 0.5),
        critical_p95_ms=rates.percentile(buckets, 0.95),
        paused_at=state.paused_at,
        paused_by=state.paused_by,
        pause_reason=state.pause_reason,
        paused_until=state.paused_until,
        drain_at=state.drain_at,
        claims=work.get("claims", 0),
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
