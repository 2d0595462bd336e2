"""Model training by a controller: commands, answers and timeouts, and models that are really trained."""

from __future__ import annotations

import json
import random
from typing import Any
from uuid import UUID

import pytest

from examples.training.consumers import NodePreempted, direct, publish_model, train, validate
from examples.training.events import ModelPublished, ModelTrainingCompleted, ModelValidated, TrainModel
from examples.training.learning import UnknownDataset
from examples.training.models import Artefact, ModelVersion, TrainingRun
from examples.training.sample import FAILURES, draft
from examples.training.starting import start_training
from messaging.models import Message
from messaging.operations import command_line, resubmit_dead_letter
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from messaging.verification import verify

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _consumers() -> None:
    synchronise()


def state_of(run: UUID) -> str:
    return TrainingRun.objects.get(id=run).state


class TestTraining:
    def test_trains_validates_and_publishes_a_model(self, harness: Harness) -> None:
        run = start_training("iris", seed=7)
        harness.run()
        assert state_of(run) == "published"
        harness.published(ModelTrainingCompleted, times=1, examples=100)
        [validated] = harness.published(ModelValidated, times=1, is_good_enough=True)
        assert validated.accuracy > 0.9
        harness.published(ModelPublished, times=1, run_id=run, model_version=1)
        metadata = ModelVersion.objects.get(run_id=run).metadata
        assert metadata["accuracy"] == validated.accuracy
        assert metadata["library"].startswith("sklearn ")
        assert verify().is_sound

    def test_is_one_flow(self, harness: Harness) -> None:
        start_training("wine")
        harness.run()
        assert len(set(Message.objects.values_list("correlation_id", flat=True))) == 1

    def test_trains_the_same_model_from_the_same_seed(self, harness: Harness) -> None:
        runs = [start_training("wine", seed=3) for _ in range(2)]
        harness.run()
        first, second = (Artefact.objects.get(run_id=run).weights for run in runs)
        assert first == second
        assert sorted(ModelVersion.objects.values_list("number", flat=True)) == [1, 2]
        assert verify().is_sound

    def test_rejects_a_model_that_is_not_good_enough(self, harness: Harness) -> None:
        run = start_training("breast_cancer", strength=1e-6)
        harness.run()
        assert state_of(run) == "rejected"
        harness.published(ModelPublished, times=0)
        assert verify().is_sound

    def test_goes_on_on_another_node(self, harness: Harness) -> None:
        run = start_training("iris", node="node_preempted")
        harness.run()
        harness.retrying(TrainModel, by=train, run_id=run)
        harness.advance("10s")
        assert state_of(run) == "published"

    @pytest.mark.parametrize("handler", [direct, train, validate, publish_model])
    def test_publishes_once_when_a_process_dies_after_its_work(self, harness: Harness, handler: Any) -> None:
        harness.fail(handler, after=True, error=NodePreempted())
        run = start_training("iris")
        harness.finish()
        assert state_of(run) == "published"
        harness.published(ModelPublished, times=1)
        assert ModelVersion.objects.count() == 1
        assert verify().is_sound


class TestTimeout:
    def test_ends_a_run_whose_data_set_does_not_exist(self, harness: Harness) -> None:
        run = start_training("iris_v_two")
        harness.run()
        harness.dead_lettered(TrainModel, by=train, reason="permanent", error=UnknownDataset)
        assert state_of(run) == "training"
        harness.advance("10m")
        assert state_of(run) == "timed_out"
        assert verify().is_sound

    def test_does_not_keep_a_repaired_run_from_its_end(self, harness: Harness) -> None:
        run = start_training("iris_v_two")
        harness.advance("10m")
        [letter] = harness.dead_lettered(TrainModel, by=train)
        body = json.loads(bytes(Message.objects.get(id=letter.message_id).body))
        body = json.dumps({**body, "dataset": "iris"})
        resubmit_dead_letter(id=letter.id, body=body, actor=command_line("ana"), reason="it is called iris")
        harness.finish()
        assert state_of(run) == "published"
        assert verify().is_sound

    def test_is_taken_back_by_the_answer(self, harness: Harness) -> None:
        run = start_training("iris")
        harness.finish()
        harness.advance("1h")
        assert state_of(run) == "published"


class TestVerify:
    @pytest.mark.parametrize(
        ("damage", "word"),
        [
            (lambda: ModelVersion.objects.all().delete(), "published once"),
            (lambda: TrainingRun.objects.update(state="rejected"), "only a validated"),
            (lambda: ModelVersion.objects.update(number=3), "no gaps"),
            (lambda: Artefact.objects.all().delete(), "its numbers"),
        ],
    )
    def test_sees_what_is_wrong(self, harness: Harness, damage: Any, word: str) -> None:
        start_training("iris")
        harness.finish()
        damage()
        assert any(word in each.name for each in verify().invariants if each.violations)


class TestTraffic:
    def test_ends_in_order_whatever_fails(self, harness: Harness) -> None:
        dice = random.Random(4)
        for failure in ("", *FAILURES):
            start_training(**draft(dice, failure))
        harness.finish()
        assert sorted(TrainingRun.objects.values_list("state", flat=True)) == [
            "published", "published", "rejected", "timed_out",
        ]  # fmt: skip
        assert verify().is_sound
