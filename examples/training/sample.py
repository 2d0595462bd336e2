"""Sample traffic: a small training run every half minute, some of them failing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from examples.sampling.flow import Flow
from examples.training.learning import DATASETS
from examples.training.models import TrainingRun
from examples.training.starting import start_training

SOURCE = "sample"
FAILURES: dict[str, tuple[dict[str, Any], int]] = {
    "too_simple": ({"dataset": "breast_cancer", "strength": 1e-6}, 3),
    "preempted": ({"node": "node_preempted"}, 3),
    "unknown_dataset": ({"dataset": "iris_v_two"}, 1),
}
"""Ways to fail and how often each is chosen: too simple a model is rejected, a lost node heals by retrying, an
unknown data set ends as a dead letter and, ten minutes later, as a run that timed out."""


def draft(dice: random.Random, failure: str | None = None) -> dict[str, Any]:
    """Return arguments of a training run; ``failure`` forces a way to fail, "" forbids it, None lets dice decide."""
    if failure is None:
        weights = [weight for _, weight in FAILURES.values()]
        failure = dice.choices(list(FAILURES), weights)[0] if dice.random() < 0.2 else ""
    run = {"dataset": dice.choice(DATASETS), "strength": dice.choice((0.1, 1.0, 10.0)), "seed": dice.randrange(10_000)}
    return {**run, **(FAILURES[failure][0] if failure else {})}


def traffic() -> Iterator[None]:
    """Start a run with every step; the first shows every way to fail on an empty console."""
    dice = random.SystemRandom()
    if not TrainingRun.objects.filter(source=SOURCE).exists():
        for failure in ("", *FAILURES):
            start_training(**draft(dice, failure), source=SOURCE)
        yield
    while True:
        start_training(**draft(dice), source=SOURCE)
        yield


MODELS = Flow(name="training", what="models", seconds_between=30, traffic=traffic, first_after=10)
