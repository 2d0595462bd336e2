"""Prometheus metrics, read from the database at each scrape: any process tells the truth for all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from messaging.queries import consumers, overview
from messaging.rollups import BATCHES, BOUNDS_MS

MOST_CONSUMERS = 500
"""Consumers with series of their own; what goes beyond is summed as "other"."""
OTHER = "other"
_HANDLED = "handled"
_PAUSED = {"paused", "draining"}

_CONSUMER_GAUGES = {
    "signalbox_consumer_backlog": ("Deliveries waiting or running.", "backlog"),
    "signalbox_consumer_waiting": ("Deliveries that failed before and are due later.", "waiting"),
    "signalbox_consumer_running": ("Deliveries claimed by a worker.", "running"),
    "signalbox_consumer_dead_letters": ("Unresolved dead letters.", "dead_letters"),
}
_BUS_GAUGES = {
    "signalbox_outbox_rows": ("Committed messages that the relay has not fanned out.", "outbox_rows"),
    "signalbox_outbox_lag_seconds": ("Age of the oldest row in the outbox.", "outbox_lag_seconds"),
    "signalbox_dead_letters": ("Unresolved dead letters.", "dead_letters"),
    "signalbox_quarantined": ("Open messages in quarantine or parked.", "quarantined"),
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
        yield _published(everything)
        yield from _outcomes(totals, kept)
        yield _critical_time(totals, kept)
        yield from _consumers([row for row in rows if row.name in kept], vitals.as_of)
        yield from _bus(vitals)


def _published(totals: list[overview.TotalRow]) -> Metric:
    """Roll-ups without a consumer count what went into the bus."""
    count = sum(total.count for total in totals if not total.consumer)
    return CounterMetricFamily("signalbox_published", "Messages published.", value=count)


def _outcomes(totals: list[overview.TotalRow], kept: frozenset[str]) -> Iterator[Metric]:
    counts: Counter[tuple[str, str]] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for total in totals:
        consumer = total.consumer if total.consumer in kept else OTHER
        if total.outcome == BATCHES:
            calls[consumer] += total.count
            continue
        counts[consumer, total.outcome] += total.count
        seconds[consumer] += total.duration_us / 1e6
    attempts = CounterMetricFamily(
        "signalbox_attempts", "Executions of deliveries by how they ended.", labels=["consumer", "outcome"]
    )
    for key, count in sorted(counts.items()):
        attempts.add_metric(list(key), count)
    yield attempts
    batches = CounterMetricFamily("signalbox_batches", "Calls of batch handlers.", labels=["consumer"])
    for name, count in sorted(calls.items()):
        batches.add_metric([name], count)
    yield batches
    spent = CounterMetricFamily("signalbox_handler_seconds", "Time spent in handlers.", labels=["consumer"])
    for name, value in sorted(seconds.items()):
        spent.add_metric([name], value)
    yield spent


def _critical_time(totals: list[overview.TotalRow], kept: frozenset[str]) -> Metric:
    family = HistogramMetricFamily(
        "signalbox_critical_time_seconds", "From the producer's commit to handled.", labels=["consumer"]
    )
    histograms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sums: defaultdict[str, float] = defaultdict(float)
    for total in totals:
        if total.outcome == _HANDLED:
            consumer = total.consumer if total.consumer in kept else OTHER
            histograms[consumer].update(total.buckets)
            sums[consumer] += total.critical_us / 1e6
    for name, histogram in sorted(histograms.items()):
        family.add_metric([name], _cumulative(histogram), sums[name])
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
    for row in rows:
        paused.add_metric([row.name], float(row.status in _PAUSED))
        age = (now - row.oldest_at).total_seconds() if row.oldest_at else 0.0
        oldest.add_metric([row.name], max(0.0, age))
    yield paused
    yield oldest


def _bus(vitals: overview.Vitals) -> Iterator[Metric]:
    for name, (text, attribute) in _BUS_GAUGES.items():
        yield GaugeMetricFamily(name, text, value=getattr(vitals, attribute))
    build = GaugeMetricFamily("signalbox_build", "1, with the running release as label.", labels=["release"])
    build.add_metric([settings.RELEASE or "unknown"], 1)
    yield build
