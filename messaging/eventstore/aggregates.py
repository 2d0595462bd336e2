"""Aggregates: a state folded from the events of its stream, from the last snapshot on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from django.db import transaction
from pydantic import BaseModel, ValidationError

from messaging import clock
from messaging.contracts.model import Event
from messaging.errors import ConfigurationError, ContractError
from messaging.eventstore.streams import append, category_of, read_stream
from messaging.models import StreamSnapshot

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Loaded(Generic[S]):
    """A state and the version it was folded up to: pass that to ``append``."""

    state: S
    version: int


class Aggregate(Generic[S]):
    """A kind of stream and the fold that makes its state.

    ``state`` is a pydantic model whose fields all have defaults: made without arguments it is the state before the
    first event. ``apply(state, event)`` returns the state after an event and changes nothing else. Change ``schema``
    whenever the fold or the state changes: older snapshots are not used any more.
    """

    def __init__(
        self,
        category: str,
        *,
        state: type[S],
        apply: Callable[[S, Event], S],
        snapshot_every: int | None = None,
        schema: int = 1,
    ) -> None:
        category_of(f"{category}/x")
        if snapshot_every is not None and snapshot_every < 1:
            raise ConfigurationError(f"snapshot_every={snapshot_every} must be at least 1.")
        self.category, self._state, self._apply = category, state, apply
        self._snapshot_every, self._schema = snapshot_every, schema

    def stream(self, id: object) -> str:
        """Return the name of one aggregate's stream."""
        return f"{self.category}/{id}"

    def load(self, id: object, *, at_version: int | None = None, at: datetime | None = None) -> Loaded[S]:
        """Fold the state of one aggregate: as it is, or as of a version or a time. Version 0 without any event.

        Raises:
            ContractError: an event cannot be read by today's contracts, or both limits are given.
        """
        if at_version is not None and at is not None:
            raise ContractError("Give at_version= or at=, not both.", field="at")
        stream = self.stream(id)
        # As of a time the fold starts at the beginning: a snapshot does not say when its last event was recorded.
        loaded = self._snapshot(stream, at_version) if at is None else None
        state, version = (loaded.state, loaded.version) if loaded else (self._state(), 0)
        for one in read_stream(stream, after=version, at_version=at_version, at=at):
            state, version = self._apply(state, one.event), one.version
        return Loaded(state=state, version=version)

    def append(self, id: object, *events: Event, expected: int, tenant: str = "") -> int:
        """Append events to one aggregate's stream and publish them; return its version. See ``append``."""
        stream = self.stream(id)
        version = append(stream, events, expected=expected, tenant=tenant)
        every = self._snapshot_every
        if every is not None and version // every > (version - len(events)) // every:
            self._take_snapshot(stream, self.load(id))
        return version

    def transact(self, id: object, decide: Callable[[S], Event | Sequence[Event] | None]) -> int:
        """Load, let ``decide`` say what happens, append; return the version. None or nothing appends nothing.

        Raises as ``append``: whoever called may roll back and do it again.
        """
        loaded = self.load(id)
        decided = decide(loaded.state)
        events = [decided] if isinstance(decided, Event) else list(decided or ())
        return self.append(id, *events, expected=loaded.version) if events else loaded.version

    def _snapshot(self, stream: str, at_version: int | None) -> Loaded[S] | None:
        row = StreamSnapshot.objects.filter(stream=stream, schema=self._schema).first()
        if row is None or (at_version is not None and row.version > at_version):
            return None
        try:
            return Loaded(state=self._state.model_validate(row.state), version=row.version)
        except ValidationError:
            return None  # of another shape: the events say it all

    def _take_snapshot(self, stream: str, loaded: Loaded[S]) -> None:
        # In the transaction that appended, whose lock on the stream keeps others from writing an older one over it.
        assert transaction.get_connection().in_atomic_block
        StreamSnapshot.objects.update_or_create(
            stream=stream,
            defaults={
                "version": loaded.version, "schema": self._schema, "state": loaded.state.model_dump(mode="json"),
                "taken_at": clock.now(),
            },
        )  # fmt: skip
