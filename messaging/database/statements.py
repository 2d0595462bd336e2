"""The statements of the delivery path, named once. Each database has its own text for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from messaging import clock
from messaging.envelope import Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """What one relay transaction did: outbox rows taken, and new deliveries by consumer."""

    taken: int
    deliveries: dict[str, int]
    contexts: tuple[str, ...] = ()
    """Traceparents of the messages whose traces are recorded, if that was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """What a claim in order took, and the key to go on after; ``last`` is None when every key was looked at."""

    claimed: int
    last: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery locked under its claim token, joined with its message (``type`` is "" when that is gone)."""

    message_id: UUID
    consumer: str
    run: int
    failures: int
    crashes: int
    resolves: UUID | None
    type: str
    version: int
    body: bytes
    headers: dict[str, str]
    key: str | None
    correlation_id: str
    causation_id: str | None
    traceparent: str
    source: str
    tenant: str
    published_at: datetime
    created_at: datetime
    """When it entered the outbox for this run: where its critical time begins."""
    locked_at: datetime
    """The database's clock when the row was locked."""
    waited_us: int = 0
    """From due to claimed, on the database's clock, in microseconds."""
    expires_at: datetime | None = None
    blob: dict[str, Any] | None = None
    position: int | None = None

    @property
    def is_expired(self) -> bool:
        """Say whether it was when its row was locked."""
        return self.is_expired_at(self.locked_at)

    def is_expired_at(self, moment: datetime) -> bool:
        """A replay is a person's decision: it runs whatever the message's age."""
        return self.run == 1 and self.expires_at is not None and self.expires_at <= moment


@dataclass(slots=True, kw_only=True)
class AttemptRow:
    """One line of history to append; see models.Attempt."""

    id: UUID
    message_id: UUID
    consumer: str
    run: int
    number: int
    outcome: str
    started_at: datetime
    duration_us: int
    worker: str
    critical_us: int = 0
    after: float | None = None
    error: Any = None


@dataclass(slots=True)
class Delta:
    """What a chunk adds to its minute for one outcome."""

    consumer: str
    type: str
    outcome: str
    count: int = 0
    duration_us: int = 0
    critical_us: int = 0
    buckets: dict[str, int] = field(default_factory=dict)


def start_position() -> int:
    """Return the position below the first of a new counter: microseconds, so above all that a pruned one gave out."""
    return int(clock.now().timestamp() * 1_000_000)


def waited_us(due: datetime, claimed: datetime | None) -> int:
    """Return the time from due to claimed in microseconds."""
    return max(0, int((claimed - due).total_seconds() * 1_000_000)) if claimed else 0


@dataclass(frozen=True, slots=True)
class Turn:
    """A chunk of a consumer waits for those that take turns; one that takes turns waits for all."""

    consumer: str
    is_taken: bool


class Store(ABC):
    """Statements of the hot path. Those that say so need an open transaction; the others are one of their own."""

    hint_is_local: bool
    """The relay's hint is an event in this process, not a NOTIFY."""

    @abstractmethod
    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Store messages with their outbox rows, and hint an idle relay. Needs a transaction."""

    @abstractmethod
    def schedule(self, envelopes: Sequence[Envelope]) -> None:
        """Store messages that wait for their ``due_at``. Needs a transaction."""

    @abstractmethod
    def move_due(self, limit: int) -> int:
        """Move up to ``limit`` scheduled messages whose time has come to the outbox; return how many."""

    @abstractmethod
    def take_back(self, message_id: UUID, *, by: str, reason: str) -> bool:
        """Delete a scheduled message's row and note that it was cancelled; False without one. Needs a transaction.

        The deletion decides: the relay, which deletes the row to fire the message, got there first or never will.
        """

    @abstractmethod
    def note_firing(self, *, schedule: str, due_at: datetime, message_id: UUID, by: str = "") -> bool:
        """Write the row of a schedule's due time; False when it was fired already. Needs a transaction."""

    @abstractmethod
    def direct(self, envelope: Envelope) -> None:
        """Store only an outbox row for a message that exists: a new run for one consumer. Needs a transaction."""

    @abstractmethod
    def relay(self, limit: int, *, traced: bool = False) -> Relayed:
        """Turn up to ``limit`` outbox rows into one delivery per subscription, and delete them."""

    @abstractmethod
    def is_ripe(self, *, consumer: str, size: int, seconds: float) -> bool:
        """Say whether ``size`` unclaimed deliveries of a consumer are due, or one has been for ``seconds``."""

    @abstractmethod
    def claim(self, *, consumer: str, token: UUID, worker: UUID, limit: int, alone: bool) -> int:
        """Put ``token`` on up to ``limit`` due, unclaimed deliveries of a consumer that is not paused.

        ``alone`` takes those that must run in a claim of their own, otherwise all the others. Those with a position
        are left to ``claim_in_order``.
        """

    @abstractmethod
    def claim_in_order(self, *, consumer: str, token: UUID, worker: UUID, limit: int, after: str = "") -> Lanes:
        """Put ``token`` on deliveries that have a position: first of their key, and what may follow them.

        Keys are looked at in order from ``after`` on. One that must run alone is claimed alone.
        """

    @abstractmethod
    def lock(
        self, *, token: UUID, only: UUID | None = None, in_order: bool = False, is_patient: bool = False,
        turn: Turn | None = None,
    ) -> list[Claimed]:  # fmt: skip
        """Lock the deliveries that still bear ``token`` and read their messages. Needs a transaction.

        ``turn``: of a chunk, whether it runs beside others of its consumer or alone.
        ``in_order`` leaves out those that wait for an earlier one of their key, and gives the others by position.
        ``is_patient``: whatever the transaction locks may be waited for, since no neighbour has to wait with it.
        """

    @abstractmethod
    def settle(self, *, token: UUID, rows: Sequence[AttemptRow], deltas: Sequence[Delta]) -> int:
        """Delete the deliveries, append their attempts and deltas; return how many left. Needs a transaction.

        The attempts are of one consumer and worker, and came to one outcome.
        """

    @abstractmethod
    def release(self, token: UUID) -> int:
        """Give unfinished deliveries of a claim back, at no cost to them."""

    @abstractmethod
    def claimable(self) -> list[str]:
        """Return the consumers that have due, unclaimed deliveries and are not paused."""

    @abstractmethod
    def beat(self, worker: UUID, *, is_idle: bool) -> bool:
        """Renew a worker's heartbeat; False when its row is gone."""

    @abstractmethod
    def end_sessions(self, workers: Sequence[UUID]) -> int:
        """End the database sessions of workers taken for dead, so that a frozen process cannot hold its locks."""

    @abstractmethod
    def name_session(self, worker: UUID) -> None:
        """Name this connection after the worker, so that ``end_sessions`` finds it."""

    @abstractmethod
    def lock_subscriptions(self) -> None:
        """Keep relays from reading the subscriptions until this transaction ends. Needs a transaction."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the database's clock."""
