"""Projections: tables derived from streams, kept up to date by a consumer, rebuilt from history beside the live ones.

Note "a checkpoint per stream": versions of one stream are given out under a lock and without gaps, so "read up to
version 7 of this stream" never skips an event that commits later, as a position over all streams would. Whoever comes,
the consumer or the rebuild, locks the checkpoint and reads on from there: an event is applied once per generation and
in the order of its stream, however often and in whatever order deliveries come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from messaging.consumers import consumer
from messaging.context import STREAM, Context
from messaging.contracts.model import Event, package_of
from messaging.errors import ConfigurationError
from messaging.eventstore.streams import Recorded, category_of, read_stream
from messaging.models import ProjectionBuild, ProjectionCheckpoint
from messaging.policy import Retry

State = ProjectionBuild.State


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a projection is told beside the event: which generation of its rows to write, and where the event stands."""

    generation: int
    recorded: Recorded

    @property
    def stream(self) -> str:
        return self.recorded.stream

    @property
    def version(self) -> int:
        return self.recorded.version


Apply = Callable[[Any, Applied], None]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A projection as declared. ``version`` is that of its code: a higher one is built anew from history."""

    name: str
    category: str
    version: int
    accepts: frozenset[str]
    apply: Apply
    forget: Callable[[int], None]

    @property
    def generation(self) -> int:
        """The generation whose rows are the ones to read; 0 while the first one is being built."""
        live = ProjectionBuild.objects.filter(projection=self.name, state=State.LIVE)
        return live.values_list("generation", flat=True).first() or 0

    def catch_up(self, generation: int, stream: str) -> int:
        """Apply what this generation has not seen of a stream; return how many events that were.

        Belongs into a transaction: the rows and the checkpoint are written together.
        """
        seen = self._lock(generation, stream)
        reached, applied = seen, 0
        for one in read_stream(stream, after=seen):
            if one.type in self.accepts:
                self.apply(one.event, Applied(generation=generation, recorded=one))
                applied += 1
            reached = one.version
        if reached > seen:
            self._checkpoints(generation, stream).update(version=reached)
        return applied

    def _lock(self, generation: int, stream: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO messaging_projectioncheckpoint (projection, generation, stream, version)"
                " VALUES (%s, %s, %s, 0) ON CONFLICT DO NOTHING",
                [self.name, generation, stream],
            )
        # A second delivery of the stream waits here, and then finds nothing left to apply.
        return int(self._checkpoints(generation, stream).select_for_update().values_list("version", flat=True).get())

    def _checkpoints(self, generation: int, stream: str) -> Any:
        return ProjectionCheckpoint.objects.filter(projection=self.name, generation=generation, stream=stream)


_projections: dict[str, Projection] = {}


def projection(
    *models: type[Event],
    category: str,
    forget: Callable[[int], None],
    version: int = 1,
    name: str | None = None,
    retry: Retry | None = None,
) -> Callable[[Apply], Projection]:
    """Declare a function as a projection of the streams of a category; it is a consumer of these events as well.

    It is called as ``(event, applied)`` and writes rows that bear ``applied.generation``. ``forget(generation)``
    deletes the rows of one. Deploy a higher ``version`` when its code changes: the scheduler builds a new generation
    from history while the old one stays up to date, and then puts it in its place.

    Raises:
        ConfigurationError: no event class, a wrong version, or a name that is taken.
    """
    category_of(f"{category}/x")
    if version < 1:
        raise ConfigurationError(f"version={version} must be at least 1.")

    def register(apply: Apply) -> Projection:
        declared = Projection(
            name=name or f"{package_of(apply.__module__)}.{apply.__name__}",
            category=category,
            version=version,
            accepts=frozenset(model.contract_name for model in models),
            apply=apply,
            forget=forget,
        )
        consumer(*models, name=declared.name, retry=retry)(_handler(declared))
        _projections[declared.name] = declared
        return declared

    return register


def _handler(declared: Projection) -> Callable[[Any, Context], None]:
    def handle(_: Any, context: Context) -> None:
        stream = context.headers.get(STREAM, "")
        if stream.partition("/")[0] != declared.category:
            return  # published without the event store, or of another kind of stream
        for generation in current_generations(declared.name):
            declared.catch_up(generation, stream)

    handle.__module__, handle.__qualname__ = declared.apply.__module__, declared.apply.__qualname__
    handle.__doc__ = declared.apply.__doc__
    return handle


def current_generations(name: str) -> list[int]:
    """Return the generations that must hear of new events: the live one and the one that is being built.

    One that begins after this was asked finds the event in history, since its delivery is later than its commit.
    """
    rows = ProjectionBuild.objects.filter(projection=name).exclude(state=State.RETIRED)
    return list(rows.order_by("generation").values_list("generation", flat=True))


def all_projections() -> list[Projection]:
    """Return every projection of this process, sorted by name."""
    return [_projections[name] for name in sorted(_projections)]


def find_projection(name: str) -> Projection | None:
    return _projections.get(name)


def forget_projection(name: str) -> None:
    """Take a projection out of the registry again (for tests that declare their own)."""
    _projections.pop(name, None)
