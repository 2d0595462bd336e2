"""Asking for a training run: its row and the controller's first command are saved in one transaction."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from examples.training.consumers import CONTROLLER
from examples.training.events import TrainModel
from examples.training.models import TrainingRun
from messaging import send
from messaging.ids import new_id

TIMEOUT = "10m"


def start_training(
    dataset: str, *, strength: float = 1.0, seed: int = 0, node: str = "node_good", run_id: UUID | None = None,
    source: str = "",
) -> UUID:  # fmt: skip
    """Begin a training run and return its id. One that was begun before changes nothing."""
    command = TrainModel(run_id=run_id or new_id(), dataset=dataset, strength=strength, seed=seed, node=node)
    with transaction.atomic():
        if run_id and TrainingRun.objects.filter(id=run_id).exists():
            return run_id
        TrainingRun.objects.create(
            id=command.run_id, dataset=dataset, strength=strength, seed=seed, source=source, started_at=timezone.now()
        )
        send(command, key=command.run_id, reply_to=CONTROLLER, timeout=TIMEOUT)
    return command.run_id
