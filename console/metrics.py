"""Prometheus metrics, read from the database at each scrape: any process tells the truth for all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from messaging.queries import chain, consumers, overview, sagas
from messaging.queries.limits import GateRow, gates
from messaging.rollups import BATCHES, BOUNDS_MS, Kind, histogram

MOST_CONSUMERS = 500
"""Consumers with series of their own; what goes beyond is summed as "other"."""
MOST_TYPES = 200
OTHER = "other"
_HANDLED = "handled"
_BREAKER = {"closed": 0, "half_open": 1, "open": 2}
_PAUSED = {"paused", "draining"}

_CONSUMER_GAUGES = {
    "signalbox_consumer_backlog": ("Deliveries waiting or running.", "backlog"),
    "signalbox_consumer_waiting": ("Deliveries that failed before and are due later.", "waiting"),
    "signalbox_consumer_running": ("Deliveries claimed by a worker.", "running"),
    "signalbox_consumer_claims": ("Live claims: workers that run it now.", "claims"),
    "signalbox_consumer_dead_letters": ("Unresolved dead letters.", "dead_letters"),
    "signalbox_consumer_blocked_keys": ("Keys that wait behind a dead letter.", "blocked_keys"),
}
_HISTOGRAMS: tuple[tuple[str, str, Kind], ...] = (
    ("signalbox_critical_time_seconds", "From the producer's commit to handled.", "critical"),
    ("signalbox_processing_time_seconds", "Time spent in the handler.", "processing"),
    ("signalbox_wakeup_latency_seconds", "From due to claimed by a worker.", "wakeup"),
)
_COUNTED = {
    "relayed": ("signalbox_relayed", "Deliveries that the relay made."),
    "filtered": ("signalbox_filtered", "Messages that a subscription's filter kept from its consumer."),
    "rescued": ("signalbox_rescued", "Deliveries taken back from a worker that died."),
    BATCHES: ("signalbox_batches", "Calls of batch handlers."),
    "crashed": ("signalbox_crashes", "Deaths of a process while a delivery ran alone."),
}
"""Outcomes with a counter of their own, which is there from the start: an alert on its growth needs the zero."""
_NO_EXECUTIONS = {"relayed", "filtered", "rescued", BATCHES}
_BUS_GAUGES = {
    "signalbox_outbox_rows": ("Committed messages that the relay has not fanned out.", "outbox_rows"),
    "signalbox_outbox_lag_seconds": ("Age of the oldest row in the outbox.", "outbox_lag_seconds"),
    "signalbox_dead_letters": ("Unresolved dead letters.", "dead_letters"),
    "signalbox_quarantined": ("Open messages in quarantine or parked.", "quarantined"),
    "signalbox_scheduled": ("Messages that wait for their time.", "scheduled"),
    "signalbox_scheduled_overdue": ("Of them: due for more than five seconds.", "scheduled_overdue"),
    "signalbox_schedules_failing": ("Recurring schedules that failed, or that nobody fires.", "schedules_failing"),
    "signalbox_backlog": ("Deliveries waiting or running.", "backlog"),
    "signalbox_workers_alive": ("Worker processes with a fresh heartbeat.", "workers_alive"),
    "signalbox_relays_alive": ("Relay processes with a fresh heartbeat.", "relays_alive"),
}


def render() -> bytes:
    """Return the scrape in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Bus())
    return generate_latest(registry)


class _Bus(Collector):
    def describe(self) -> Sequence[Metric]:
        return ()  # registering must not ask the database

    def collect(self) -> Iterator[Metric]:
        everything, rows, vitals = overview.totals(), consumers.list_consumers(), overview.vitals()
        totals = [total for total in everything if total.consumer]
        names = sorted({row.name for row in rows} | {total.consumer for total in totals})
        kept = frozenset(names[:MOST_CONSUMERS])
        yield from _counts(overview.type_totals(everything), kept)
        for name, text, kind in _HISTOGRAMS:
            yield _histogram(name, text, kind, totals, kept)
        yield from _consumers([row for row in rows if row.name in kept], vitals.as_of)
        yield from _gates(gates())
        yield from _bus(vitals)
        yield from _sagas()
        yield from _chain()


def _counts(rows: list[overview.TypeRow], kept: frozenset[str]) -> Iterator[Metric]:
    """Yield counters by consumer, type and outcome; roll-ups without a consumer count what went into the bus."""
    types = frozenset(sorted({row.type for row in rows})[:MOST_TYPES])
    published, attempts = Counter[str](), Counter[tuple[str, str, str]]()
    others = {outcome: Counter(dict.fromkeys(kept, 0)) for outcome in _COUNTED}
    for row in rows:
        type_ = row.type if row.type in types else OTHER
        consumer = row.consumer if row.consumer in kept else OTHER
        if not row.consumer:
            published[type_] += row.count
            continue
        if row.outcome in others:
            others[row.outcome][consumer] += row.count
        if row.outcome not in _NO_EXECUTIONS:
            attempts[consumer, type_, row.outcome] += row.count
    yield _counter("signalbox_published", "Messages published.", ("type",), {(k,): n for k, n in published.items()})
    labels = ("consumer", "type", "outcome")
    yield _counter("signalbox_attempts", "Executions of deliveries by how they ended.", labels, attempts)
    for outcome, (name, text) in _COUNTED.items():
        values = {(consumer,): count for consumer, count in others[outcome].items()}
        yield _counter(name, text, ("consumer",), values)


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _histogram(name: str, text: str, kind: Kind, totals: list[overview.TotalRow], kept: frozenset[str]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["consumer"])
    histograms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sums: defaultdict[str, float] = defaultdict(float)
    for total in totals:
        if total.outcome == _HANDLED:
            consumer = total.consumer if total.consumer in kept else OTHER
            histograms[consumer].update(histogram(total.buckets, kind))
            sums[consumer] += {"critical": total.critical_us, "processing": total.duration_us, "wakeup": 0}[kind] / 1e6
    for consumer, counts in sorted(histograms.items()):
        family.add_metric([consumer], _cumulative(counts), None if kind == "wakeup" else sums[consumer])
    return family


def _cumulative(histogram: Counter[str]) -> list[tuple[str, float]]:
    """Turn counts of each bucket (upper bound in milliseconds) into Prometheus' running sums (seconds)."""
    running = 0
    buckets: list[tuple[str, float]] = []
    for bound in BOUNDS_MS:
        running += histogram[str(bound)]
        buckets.append((f"{bound / 1000:g}", running))
    return [*buckets, ("+Inf", sum(histogram.values()))]


def _consumers(rows: list[consumers.ConsumerRow], now: datetime) -> Iterator[Metric]:
    for name, (text, attribute) in _CONSUMER_GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=["consumer"])
        for row in rows:
            gauge.add_metric([row.name], getattr(row, attribute))
        yield gauge
    paused = GaugeMetricFamily("signalbox_consumer_paused", "1 while an operator holds it.", labels=["consumer"])
    oldest = GaugeMetricFamily(
        "signalbox_consumer_oldest_age_seconds", "Age of the oldest unhandled delivery.", labels=["consumer"]
    )
    behind = GaugeMetricFamily(
        "signalbox_consumer_behind", "1 while its backlog is over its limit.", labels=["consumer"]
    )  # fmt: skip
    for row in rows:
        behind.add_metric([row.name], float(row.behind_since is not None))
        paused.add_metric([row.name], float(row.status in _PAUSED))
        age = (now - row.oldest_at).total_seconds() if row.oldest_at else 0.0
        oldest.add_metric([row.name], max(0.0, age))
    yield paused
    yield behind
    yield oldest


def _chain() -> Iterator[Metric]:
    check = chain.last_check()
    problems = len(check.problems) if check else 0
    yield GaugeMetricFamily("signalbox_audit_unsealed", "Transactions that no seal covers yet.", value=chain.waiting())
    yield GaugeMetricFamily(
        "signalbox_audit_chain_problems", "Problems the last verification of the audit chain found.", value=problems
    )


def _gates(rows: list[GateRow]) -> Iterator[Metric]:
    """Breakers and limits: 500 at most, as the consumers."""
    labels = ["kind", "name"]
    state = GaugeMetricFamily("signalbox_breaker_state", "0 closed, 1 half open, 2 open.", labels=labels)
    opened = CounterMetricFamily("signalbox_breaker_opened", "How often a breaker opened.", labels=labels)
    held = CounterMetricFamily(
        "signalbox_claims_held", "Claims that a limit sent away: breaker, rate or concurrency.",
        labels=["consumer", "limit"],
    )  # fmt: skip
    overridden = GaugeMetricFamily(
        "signalbox_consumer_overridden", "1 while an operator's limits hold.", labels=["consumer"]
    )  # fmt: skip
    for row in rows[:MOST_CONSUMERS]:
        if row.has_breaker:
            state.add_metric([row.kind, row.name], _BREAKER[row.breaker])
            opened.add_metric([row.kind, row.name], row.times_opened)
        if row.kind == "consumer":
            overridden.add_metric([row.name], float(row.overridden_at is not None))
            for limit in ("breaker", "rate", "concurrency"):
                held.add_metric([row.name, limit], getattr(row, f"held_by_{limit}"))
    yield from (state, opened, held, overridden)


def _sagas() -> Iterator[Metric]:
    count = GaugeMetricFamily("signalbox_sagas", "Unfinished sagas by state.", labels=["saga", "state"])
    failed = GaugeMetricFamily("signalbox_sagas_failed", "Of them: held by a dead letter.", labels=["saga", "state"])
    for each in sagas.count_sagas():
        count.add_metric([each.saga, each.state], each.count)
        failed.add_metric([each.saga, each.state], each.failed)
    yield from (count, failed)


def _bus(vitals: overview.Vitals) -> Iterator[Metric]:
    for name, (text, attribute) in _BUS_GAUGES.items():
        yield GaugeMetricFamily(name, text, value=getattr(vitals, attribute))
    build = GaugeMetricFamily("signalbox_build", "1, with the running release as label.", labels=["release"])
    build.add_metric([settings.RELEASE or "unknown"], 1)
    yield build
