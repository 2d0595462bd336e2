"""Limits of consumers and dependencies, and what follows from them. Pure: every function takes ``now``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from messaging.errors import ConfigurationError
from messaging.policy import Duration, seconds

Standing = Literal["closed", "open", "half_open"]
HeldBy = Literal["breaker", "rate", "concurrency"]


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Opens after ``failures`` in a row, or when ``rate`` of at least ``minimum`` calls within ``window`` failed.

    Open, it lets nothing pass for ``open_for``; then one probe at a time, until one succeeds. Only exceptions in
    ``counts`` are held against it.
    """

    failures: int | None = 5
    rate: float | None = None
    window: Duration = "1m"
    minimum: int = 10
    open_for: Duration = "30s"
    counts: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if self.failures is None and self.rate is None:
            raise ConfigurationError("Breaker() needs failures=, rate= or both.")
        if self.failures is not None and self.failures < 1:
            raise ConfigurationError(f"Breaker(failures={self.failures}) must be at least 1.")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ConfigurationError(f"Breaker(rate={self.rate}) must be above 0 and at most 1.")
        if self.minimum < 1 or seconds(self.window) <= 0 or seconds(self.open_for) <= 0:
            raise ConfigurationError("Breaker(minimum=, window=, open_for=) must be above 0.")

    def describe(self) -> dict[str, Any]:
        """Return the limit as an operator reads it."""
        return {
            "failures": self.failures, "rate": self.rate, "window": str(self.window), "minimum": self.minimum,
            "open_for": str(self.open_for), "counts": [kind.__name__ for kind in self.counts],
        }  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """At most ``count`` messages ``per`` duration, in bursts of at most ``burst`` (else ``count``)."""

    count: float
    per: Duration = "1s"
    burst: int | None = None

    def __post_init__(self) -> None:
        if self.count <= 0 or seconds(self.per) <= 0:
            raise ConfigurationError(f"Rate({self.count}, per={self.per!r}) must be above 0.")
        if self.burst is not None and self.burst < 1:
            raise ConfigurationError(f"Rate(burst={self.burst}) must be at least 1.")

    @property
    def per_second(self) -> float:
        return self.count / seconds(self.per)

    @property
    def size(self) -> float:
        """The most tokens that the bucket holds."""
        return float(self.burst or max(1.0, self.count))

    def describe(self) -> dict[str, Any]:
        return {"count": self.count, "per": str(self.per), "burst": self.burst}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Rate:
        return cls(value["count"], per=value["per"], burst=value.get("burst"))


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Tokens at a time; without a time it is full."""

    tokens: float | None = None
    at: datetime | None = None

    def filled(self, rate: Rate, now: datetime) -> float:
        """Return how many tokens are in it now. A clock that went back adds none."""
        if self.tokens is None or self.at is None:
            return rate.size
        return min(rate.size, self.tokens + max(0.0, (now - self.at).total_seconds()) * rate.per_second)

    def taken(self, rate: Rate, count: int, now: datetime) -> Bucket:
        return Bucket(tokens=self.filled(rate, now) - count, at=max(now, self.at or now))

    def next_at(self, rate: Rate, now: datetime) -> datetime:
        """Return when one whole token will be in it."""
        return now + timedelta(seconds=max(0.0, 1.0 - self.filled(rate, now)) / rate.per_second)


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The state of one breaker, shared by all workers."""

    opened_at: datetime | None = None
    open_until: datetime | None = None
    opened_by: str = ""
    open_reason: str = ""
    probe_token: UUID | None = None
    probe_worker: UUID | None = None
    probe_at: datetime | None = None
    run: int = 0
    calls: int = 0
    failed: int = 0
    half_at: datetime | None = None
    earlier_calls: int = 0
    earlier_failed: int = 0

    def standing(self, now: datetime) -> Standing:
        if self.opened_at is None:
            return "closed"
        return "half_open" if self.open_until is not None and self.open_until <= now else "open"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What executions told of one subject: ``ok`` successes, then ``failed`` failures, the last one for ``why``."""

    ok: int = 0
    failed: int = 0
    why: str = ""


def with_probe(circuit: Circuit, *, token: UUID, worker: UUID, now: datetime) -> Circuit:
    return replace(circuit, probe_token=token, probe_worker=worker, probe_at=now)


def without_probe(circuit: Circuit, token: UUID) -> Circuit:
    """End a probe that told nothing: the next one may go."""
    if circuit.probe_token != token:
        return circuit
    return replace(circuit, probe_token=None, probe_worker=None, probe_at=None)


def observed(circuit: Circuit, breaker: Breaker, seen: Seen, *, token: UUID, now: datetime) -> Circuit:
    """Return the circuit after what a claim saw. While it is open only its probe has a say."""
    if circuit.opened_at is not None:
        if circuit.probe_token != token or not (seen.ok or seen.failed):
            return circuit
        return opened(circuit, breaker, seen.why, now) if seen.failed else Circuit()
    counted = _counted(circuit, breaker, seen, now)
    return opened(counted, breaker, seen.why, now) if _is_over(counted, breaker) else counted


def opened(circuit: Circuit, breaker: Breaker, why: str, now: datetime) -> Circuit:
    """Open until a probe is due; a probe that failed keeps the time of the first opening."""
    return Circuit(
        opened_at=circuit.opened_at or now,
        open_until=now + timedelta(seconds=seconds(breaker.open_for)),
        open_reason=why,
        run=circuit.run,
    )


def _counted(circuit: Circuit, breaker: Breaker, seen: Seen, now: datetime) -> Circuit:
    run = seen.failed if seen.ok else circuit.run + seen.failed
    if breaker.rate is None:
        return replace(circuit, run=run)
    # Two halves of the window: what is counted is between half a window and a whole one old.
    half = timedelta(seconds=seconds(breaker.window) / 2)
    begun = circuit.half_at
    if begun is None or now - begun >= 2 * half:
        circuit = replace(circuit, calls=0, failed=0, earlier_calls=0, earlier_failed=0, half_at=now)
    elif now - begun >= half:
        circuit = replace(
            circuit, earlier_calls=circuit.calls, earlier_failed=circuit.failed, calls=0, failed=0, half_at=begun + half
        )  # fmt: skip
    return replace(
        circuit, run=run, calls=circuit.calls + seen.ok + seen.failed, failed=circuit.failed + seen.failed
    )  # fmt: skip


def _is_over(circuit: Circuit, breaker: Breaker) -> bool:
    if breaker.failures is not None and circuit.run >= breaker.failures:
        return True
    calls = circuit.calls + circuit.earlier_calls
    failed = circuit.failed + circuit.earlier_failed
    return breaker.rate is not None and calls >= breaker.minimum and failed >= breaker.rate * calls


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A worker may claim up to ``limit``; ``is_probe``: it is the one probe."""

    limit: int
    is_probe: bool = False


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A worker is sent away; ``until`` is when it is worth coming again, if that is known."""

    by: HeldBy
    until: datetime | None = None


Admission = Pass | Hold


def admit(
    *, wanted: int, circuits: list[tuple[Circuit, bool]], bucket: Bucket, rate: Rate | None, concurrency: int | None,
    running: int, now: datetime,
) -> Admission:  # fmt: skip
    """Say whether a worker that wants to claim ``wanted`` deliveries may.

    ``circuits`` are those of the consumer and its dependencies, each with whether its probe is out; ``running`` is
    the number of live claims.
    """
    is_probe = False
    for circuit, is_probed in circuits:
        standing = circuit.standing(now)
        if standing == "open" or (standing == "half_open" and is_probed):
            return Hold(by="breaker", until=circuit.open_until)
        is_probe = is_probe or standing == "half_open"
    if concurrency is not None and running >= concurrency:
        return Hold(by="concurrency")
    limit = 1 if is_probe else wanted
    if rate is not None:
        limit = min(limit, int(bucket.filled(rate, now)))
        if limit < 1:
            return Hold(by="rate", until=bucket.next_at(rate, now))
    return Pass(limit=limit, is_probe=is_probe)
