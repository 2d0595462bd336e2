"""What the controller asks for, and what it is told. The training run's id is the key."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from messaging import Command, Event

Dataset = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class TrainModel(Command, version=1):
    """Train a model on a data set."""

    run_id: UUID
    dataset: Dataset
    strength: Annotated[float, Field(gt=0)]
    """Inverse of the regularisation (C)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    node: Annotated[str, Field(pattern=r"^node_[a-z]{1,20}$")] = "node_good"


class ModelTrainingCompleted(Event, version=1):
    """A model is trained and stored; nobody judged it yet."""

    run_id: UUID
    examples: int
    iterations: int


class ValidateModel(Command, version=1):
    """Judge a trained model by examples that it has not seen."""

    run_id: UUID
    least_accuracy: Share


class ModelValidated(Event, version=1):
    """A model was judged."""

    run_id: UUID
    accuracy: Share
    is_good_enough: bool


class PublishModel(Command, version=1):
    """Make a validated model the newest version of its data set's."""

    run_id: UUID


class ModelPublished(Event, version=1):
    """A model has a version, and may be served."""

    run_id: UUID
    dataset: Dataset
    model_version: int
    accuracy: Share
