"""Build generations of projections from history, while they hear of new events, and put them live."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.db import IntegrityError
from django.db.models import F, Max, Q

from messaging import failpoints
from messaging.database import store
from messaging.errors import OperationRefused
from messaging.eventstore.projections import Projection, all_projections
from messaging.failure import storable
from messaging.models import EventStream, ProjectionBuild, ProjectionCheckpoint

log = logging.getLogger("messaging.eventstore")
State = ProjectionBuild.State
STREAMS_PER_STEP = 50
FORGET_AFTER = timedelta(minutes=10)
"""A delivery that began before the swap may still write rows of the retired generation."""


def advance_projections(*, seconds: float = 2.0) -> int:
    """Begin, go on with and finish the builds that this release needs, for so long; return how many streams."""
    ends, done = time.monotonic() + seconds, 0
    for declared in all_projections():
        while time.monotonic() < ends:
            begin_if_needed(declared)
            step = _step(declared)
            if step is None:
                break
            done += step
        forget_retired(declared)
    return done


def begin_if_needed(declared: Projection) -> None:
    """Begin a build if neither the live generation nor the one being built is of this code's version.

    A release that is older than the live generation begins nothing: during a deploy both run.
    """
    newest = ProjectionBuild.objects.filter(projection=declared.name).exclude(state=State.RETIRED)
    if (newest.aggregate(newest=Max("code_version"))["newest"] or 0) < declared.version:
        begin(declared)


def begin(declared: Projection) -> int:
    """Begin a new generation and return its number; a build of older code that is under way is given up.

    Raises:
        OperationRefused: one of this version is being built already.
    """
    try:
        with failpoints.atomic("projection_begin"):
            now = store().now()
            builds = ProjectionBuild.objects.filter(projection=declared.name)
            builds.filter(state=State.BUILDING, code_version__lt=declared.version).update(
                state=State.RETIRED, retired_at=now
            )
            generation = (builds.aggregate(last=Max("generation"))["last"] or 0) + 1
            ProjectionBuild.objects.create(
                projection=declared.name, generation=generation, code_version=declared.version,
                state=State.BUILDING, started_at=now,
            )  # fmt: skip
    except IntegrityError:  # another scheduler, or an operator, began at the same time
        raise OperationRefused(f"{declared.name} is being built already.", code="conflict") from None
    return int(generation)


def _step(declared: Projection) -> int | None:
    """Read some streams into the generation being built, or put it live; None when there is nothing to do."""
    build = ProjectionBuild.objects.filter(projection=declared.name, state=State.BUILDING).first()
    if build is None or build.code_version != declared.version:
        return None
    try:
        with failpoints.atomic("projection_step"):
            return _read_on(declared, build)
    except Exception as error:
        log.exception("Building %s, generation %s, failed after %s.", declared.name, build.generation, build.cursor)
        _note_error(build, error)
        return None


def _read_on(declared: Projection, build: ProjectionBuild) -> int:
    held = ProjectionBuild.objects.select_for_update().filter(id=build.id, state=State.BUILDING, cursor=build.cursor)
    if held.first() is None:
        return 0  # another process got there first
    streams = EventStream.objects.filter(category=declared.category, name__gt=build.cursor).order_by("name")
    names = list(streams.values_list("name", flat=True)[:STREAMS_PER_STEP])
    if not names:
        _put_live(build)
        return 0
    events = sum(declared.catch_up(build.generation, name) for name in names)
    ProjectionBuild.objects.filter(id=build.id).update(
        cursor=names[-1], streams=F("streams") + len(names), events=F("events") + events, last_error=""
    )
    return len(names)


def _put_live(build: ProjectionBuild) -> None:
    """Swap: every stream that was there has been read, and each event since then was told to this generation too."""
    now = store().now()
    ProjectionBuild.objects.filter(projection=build.projection, state=State.LIVE).update(
        state=State.RETIRED, retired_at=now
    )
    ProjectionBuild.objects.filter(id=build.id).update(state=State.LIVE, live_at=now, last_error="")
    log.info("%s: generation %s is live.", build.projection, build.generation)


def _note_error(build: ProjectionBuild, error: Exception) -> None:
    ProjectionBuild.objects.filter(id=build.id, state=State.BUILDING).update(
        last_error=storable(f"{type(error).__name__}: {error}")[:2000]
    )


def forget_retired(declared: Projection, *, older_than: timedelta = FORGET_AFTER) -> int:
    """Delete the rows and checkpoints of generations retired so long ago; return how many."""
    before = store().now() - older_than
    retired = ProjectionBuild.objects.filter(Q(retired_at__lte=before), projection=declared.name, state=State.RETIRED)
    for build in retired:
        with failpoints.atomic("projection_forget"):
            declared.forget(build.generation)
            ProjectionCheckpoint.objects.filter(projection=declared.name, generation=build.generation).delete()
            ProjectionBuild.objects.filter(id=build.id).delete()
    return len(retired)
