"""The controller, which knows the steps, and three workers, which know one each."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from examples.training import learning
from examples.training.events import (
    ModelPublished,
    ModelTrainingCompleted,
    ModelValidated,
    PublishModel,
    TrainModel,
    ValidateModel,
)
from examples.training.models import Artefact, ModelVersion, TrainingRun
from messaging import Context, ReplyTimedOut, Retry, consumer, publish, reply, send

State = TrainingRun.State
CONTROLLER = "training.direct"
LEAST_ACCURACY = 0.85
PREEMPTED_ATTEMPTS = 3
"""A node named node_preempted is taken away so many times."""
QUICK = Retry(immediate=2, delays=("5s", "30s"))


class NodePreempted(Exception):
    """The node was taken away in the middle of the training; another one will do."""


@consumer(ModelTrainingCompleted, ModelValidated, ModelPublished, ReplyTimedOut, name=CONTROLLER, retry=QUICK)
def direct(event: ModelTrainingCompleted | ModelValidated | ModelPublished | ReplyTimedOut, context: Context) -> None:
    """Decide what comes next. Each step is one conditional UPDATE, so an answer that comes twice leads on once."""
    if isinstance(event, ReplyTimedOut):
        # The key of an answer, and of the news that none came, is the command's: the run.
        _move(context.key or "", (State.TRAINING, State.VALIDATING), State.TIMED_OUT, ended_at=timezone.now())
    elif isinstance(event, ModelTrainingCompleted):
        # A run that was given up is taken up again by a late answer: the work is done, why waste it.
        if _move(event.run_id, (State.TRAINING, State.TIMED_OUT), State.VALIDATING, ended_at=None):
            command = ValidateModel(run_id=event.run_id, least_accuracy=LEAST_ACCURACY)
            send(command, key=event.run_id, reply_to=CONTROLLER, timeout="5m")
    elif isinstance(event, ModelPublished):
        _move(event.run_id, (State.PUBLISHING,), State.PUBLISHED, ended_at=timezone.now())
    elif not event.is_good_enough:
        ended = {"accuracy": event.accuracy, "ended_at": timezone.now()}
        _move(event.run_id, (State.VALIDATING, State.TIMED_OUT), State.REJECTED, **ended)
    elif _move(
        event.run_id, (State.VALIDATING, State.TIMED_OUT), State.PUBLISHING, accuracy=event.accuracy, ended_at=None
    ):
        send(PublishModel(run_id=event.run_id), key=event.run_id)  # a quick insert; its news is for everybody


@consumer(
    TrainModel,
    name="training.train",
    guarantee="at_least_once",  # seconds or hours of work do not belong into a transaction
    retry=Retry(immediate=2, delays=("10s", "1m"), permanent=(Warning,)),
    concurrency=1,
)
def train(command: TrainModel, context: Context) -> None:
    """Train, store the model's numbers and how they came about, and tell the controller."""
    artefact = Artefact.objects.filter(run_id=command.run_id).first()
    if artefact is None:
        if command.node == "node_preempted" and context.attempt <= PREEMPTED_ATTEMPTS:
            raise NodePreempted("The node was taken away at 40 % of the training.")
        trained = learning.train(command.dataset, strength=command.strength, seed=command.seed)
        artefact = Artefact(
            run_id=command.run_id,
            weights=trained.weights,
            metadata={
                "library": trained.library,
                "model": "logistic regression",
                "dataset": command.dataset,
                "strength": command.strength,
                "seed": command.seed,
                "examples": trained.examples,
                "iterations": trained.iterations,
            },
            trained_at=timezone.now(),
        )
    # Stored before, when a process died between its commit and the bus noting it: only the answer is missing.
    with transaction.atomic():
        artefact.save()
        reply(
            ModelTrainingCompleted(
                run_id=command.run_id,
                examples=artefact.metadata["examples"],
                iterations=artefact.metadata["iterations"],
            )
        )


@consumer(ValidateModel, name="training.validate", guarantee="at_least_once", retry=QUICK)
def validate(command: ValidateModel, context: Context) -> None:
    """Judge the model by what it has not seen."""
    artefact = Artefact.objects.get(run_id=command.run_id)
    how = artefact.metadata
    accuracy = learning.accuracy(artefact.weights, dataset=how["dataset"], seed=how["seed"])
    is_good_enough = accuracy >= command.least_accuracy
    with transaction.atomic():
        reply(ModelValidated(run_id=command.run_id, accuracy=accuracy, is_good_enough=is_good_enough))


@consumer(PublishModel, name="training.publish_model", guarantee="exactly_once", retry=QUICK, concurrency=1)
def publish_model(command: PublishModel, context: Context) -> None:
    """Give the model a version, once, with its metadata."""
    if ModelVersion.objects.filter(run_id=command.run_id).exists():
        return  # a replay of what was handled
    run = TrainingRun.objects.get(id=command.run_id)
    newest = ModelVersion.objects.filter(dataset=run.dataset).aggregate(newest=Max("number"))["newest"] or 0
    # Two at once would choose the same number: the constraint refuses the second, and it tries again.
    version = ModelVersion.objects.create(
        run_id=run.id,
        dataset=run.dataset,
        number=newest + 1,
        metadata={**Artefact.objects.get(run_id=run.id).metadata, "accuracy": run.accuracy},
        published_at=timezone.now(),
    )
    published = ModelPublished(
        run_id=run.id, dataset=run.dataset, model_version=version.number, accuracy=run.accuracy or 0
    )
    publish(published, key=run.id)


def _move(run_id: UUID | str, sources: tuple[State, ...], target: State, **changes: object) -> bool:
    """Move a run on; False when it is not in one of the states that lead there."""
    return bool(TrainingRun.objects.filter(id=run_id, state__in=sources).update(state=target, **changes))
