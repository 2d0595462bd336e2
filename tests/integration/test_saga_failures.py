"""Every step of every saga of the examples fails in every way; docs/saga-failures.md says what becomes of it."""

from __future__ import annotations

import pytest

from examples.training import learning
from messaging import testing
from messaging.sagas import all_sagas
from messaging.subscriptions import synchronise
from messaging.verification import verify
from tests.failures import Group, Scenario, document, play, training
from tests.failures.appointments import APPOINTMENTS
from tests.failures.orders import ORDERS
from tests.failures.training import TRAINING

pytestmark = pytest.mark.django_db
SCENARIOS = (ORDERS, APPOINTMENTS, TRAINING)


def played(scenario: Scenario) -> list[Group]:
    with testing.harness(consumers=scenario.consumers) as harness:
        return play(scenario, harness)


def test_every_saga_has_a_scenario() -> None:
    ours = {saga.definition.name for saga in all_sagas() if saga.__module__.startswith("examples.")}
    assert ours <= {scenario.director for scenario in SCENARIOS}


@pytest.mark.only_on("sqlite")  # what is asked here is the sagas', and hundreds of flows take seconds
@pytest.mark.long
def test_come_to_rest_as_documented(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronise()
    monkeypatch.setattr(learning, "train", training.train)
    monkeypatch.setattr(learning, "accuracy", training.accuracy)
    page = document.render([(scenario, played(scenario)) for scenario in SCENARIOS])
    assert verify().is_sound  # also: exactly the completed steps are undone
    if request.config.getoption("--rewrite-docs"):
        document.PATH.write_text(page)
    assert document.PATH.read_text() == page, "run it again with --rewrite-docs, and look at the difference"
