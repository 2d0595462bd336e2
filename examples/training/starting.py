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


class RunConflict(Exception):
    """A run of this id exists with other arguments."""


def start_training(
    dataset: str, *, strength: float = 1.0, seed: int = 0, node: str = "node_good", run_id: UUID | None = None,
    source: str = "",
) -> UUID:  # fmt: skip
    """Begin a training run and return its id. One that was begun before changes nothing.

    Raises:
        RunConflict: the id was used for another run.
    """
    command = TrainModel(run_id=run_id or new_id(), dataset=dataset, strength=strength, seed=seed, node=node)
    wanted = {"dataset": dataset, "strength": strength, "seed": seed}
    with transaction.atomic():
        # Posted twice at once, one of the two makes the row and the other one finds it.
        run, is_new = TrainingRun.objects.get_or_create(
            id=command.run_id, defaults={**wanted, "source": source, "started_at": timezone.now()}
        )
        if is_new:
            send(command, key=command.run_id, reply_to=CONTROLLER, timeout=TIMEOUT)
        elif any(getattr(run, field) != value for field, value in wanted.items()):
            raise RunConflict(f"{command.run_id} belongs to another run; make a new id.")
    return command.run_id
