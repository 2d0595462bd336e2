"""Projections: which generation is live, and how far the next one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from messaging.eventstore.projections import all_projections
from messaging.models import EventStream, ProjectionBuild


@dataclass(frozen=True, kw_only=True)
class ProjectionRow:
    """``building`` is the generation under way, None without one; ``streams`` of ``streams_total`` it has read."""

    name: str
    category: str
    version: int
    generation: int | None
    live_version: int | None
    live_at: datetime | None
    building: int | None
    streams: int
    streams_total: int
    last_error: str


def list_projections() -> list[ProjectionRow]:
    """Return the projections of this release by name."""
    builds = list(ProjectionBuild.objects.filter(~Q(state="retired")))
    return [
        _row(
            declared.name, declared.category, declared.version,
            [build for build in builds if build.projection == declared.name],
        )
        for declared in all_projections()
    ]  # fmt: skip


def _row(name: str, category: str, version: int, builds: Iterable[ProjectionBuild]) -> ProjectionRow:
    of = {build.state: build for build in builds}
    live, building = of.get("live"), of.get("building")
    return ProjectionRow(
        name=name, category=category, version=version,
        generation=live.generation if live else None, live_version=live.code_version if live else None,
        live_at=live.live_at if live else None, building=building.generation if building else None,
        streams=building.streams if building else 0,
        streams_total=EventStream.objects.filter(category=category).count() if building else 0,
        last_error=building.last_error if building else "",
    )  # fmt: skip
