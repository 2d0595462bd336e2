"""What must hold among the models at any moment; ``manage.py verify`` checks it."""

from __future__ import annotations

from collections.abc import Iterator

from examples.training.models import Artefact, ModelVersion, TrainingRun
from messaging.verification import invariant

State = TrainingRun.State
_LIMIT = 21


@invariant("training: each model is published once, and only a validated one")
def models_are_published_once() -> Iterator[str]:
    published = ModelVersion.objects.values("run_id")
    for run in TrainingRun.objects.filter(state=State.PUBLISHED).exclude(id__in=published)[:_LIMIT]:
        yield f"run {run.id} is published, and there is no version of it"
    entitled = TrainingRun.objects.filter(state__in=(State.PUBLISHING, State.PUBLISHED), accuracy__isnull=False)
    for version in ModelVersion.objects.exclude(run_id__in=entitled.values("id"))[:_LIMIT]:
        yield f"version {version.number} of {version.dataset}: its run is not validated"


@invariant("training: versions of a data set have no gaps, and each has its numbers and its metadata")
def versions_are_whole() -> Iterator[str]:
    seen: dict[str, int] = {}
    trained = set(
        Artefact.objects.filter(run_id__in=ModelVersion.objects.values("run_id")).values_list("pk", flat=True)
    )
    for version in ModelVersion.objects.order_by("dataset", "number"):
        expected = seen.get(version.dataset, 0) + 1
        if version.number != expected:
            yield f"{version.dataset}: version {version.number} follows {expected - 1}"
        if version.run_id not in trained or "accuracy" not in version.metadata:
            yield f"{version.dataset}: version {version.number} lacks its numbers or metadata"
        seen[version.dataset] = version.number
