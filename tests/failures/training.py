from __future__ import annotations

from typing import Any
from uuid import UUID

from examples.training import learning
from examples.training.consumers import CONTROLLER
from examples.training.models import Artefact, TrainingRun
from examples.training.starting import start_training
from tests.failures import Ending, Scenario

_REFUSALS: dict[str, dict[str, Any]] = {
    "model too simple": {"dataset": "breast_cancer", "strength": 1e-6},
    "node taken away": {"node": "node_preempted"},
    "data set unknown": {"dataset": "iris_v_two"},
}


def train(dataset: str, *, strength: float, seed: int) -> learning.Trained:
    """Stand in for the training, which takes its time and is not what fails here."""
    if dataset not in learning.DATASETS:
        raise learning.UnknownDataset(dataset)
    return learning.Trained(weights={"strength": strength}, examples=100, iterations=7, library="none")


def accuracy(weights: dict[str, Any], *, dataset: str, seed: int) -> float:
    return 0.5 if weights["strength"] < 0.01 else 0.95


def _start(refusal: str) -> UUID:
    return start_training(**{"dataset": "iris", **_REFUSALS.get(refusal, {})})


def _look(run_id: UUID) -> Ending:
    run = TrainingRun.objects.get(id=run_id)
    steps = {
        "trained": Artefact.objects.filter(run_id=run_id).exists(),
        "validated": run.accuracy is not None,
        "published": run.state == TrainingRun.State.PUBLISHED,
    }
    return Ending(state=run.state, completed=tuple(name for name, is_done in steps.items() if is_done))


TRAINING = Scenario(
    title="Model training (R5), `training.direct`",
    director=CONTROLLER,
    consumers=(CONTROLLER, "training.train", "training.validate", "training.publish_model"),
    start=_start,
    look=_look,
    refusals=tuple(_REFUSALS),
)
