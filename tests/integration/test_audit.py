"""Outcomes and operators' actions are appended; nothing changes or removes them row by row."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, transaction

from messaging import OperationRefused
from messaging.models import Attempt, AuditRecord
from messaging.operations import pause_consumer, resume_consumer
from messaging.testing import run_until_idle
from tests.factories import ANA, ANNOUNCE, EVE, arrive, outcomes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def history(station: Any) -> None:
    station.declare()
    arrive("ICE 1")
    run_until_idle()
    pause_consumer(name=ANNOUNCE, actor=ANA, reason="works")


@pytest.mark.usefixtures("history")
class TestHistory:
    @pytest.mark.parametrize("model", [Attempt, AuditRecord])
    def test_cannot_be_changed(self, model: Any) -> None:
        changed = {"worker": "nobody"} if model is Attempt else {"actor": "nobody"}
        with pytest.raises(DatabaseError, match="append-only: UPDATE refused"), transaction.atomic():
            model.objects.update(**changed)
        assert not model.objects.filter(**changed).exists()

    @pytest.mark.parametrize("model", [Attempt, AuditRecord])
    def test_cannot_be_removed_row_by_row(self, model: Any) -> None:
        with pytest.raises(DatabaseError, match="append-only: DELETE refused"), transaction.atomic():
            model.objects.all().delete()
        assert model.objects.count() == 1


class TestAudit:
    def test_has_one_record_for_each_action_whatever_came_of_it(self, station: Any) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="works", request_id="r-1")
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="works", request_id="r-1")  # the same request again
        with pytest.raises(OperationRefused):
            pause_consumer(name=ANNOUNCE, actor=ANA, reason="again")
        with pytest.raises(OperationRefused):
            resume_consumer(name=ANNOUNCE, actor=EVE)
        resume_consumer(name=ANNOUNCE, actor=ANA)
        found = AuditRecord.objects.order_by("id").values_list("action", "outcome", "actor")
        assert list(found) == [
            ("consumer.pause", "done", "ana"),
            ("consumer.pause", "refused", "ana"),
            ("consumer.resume", "denied", "eve"),
            ("consumer.resume", "done", "ana"),
        ]

    def test_of_outcomes_has_one_attempt_for_each_execution(self, station: Any) -> None:
        calls = []

        def handler(event: Any, context: Any) -> None:
            calls.append(context.attempt)
            if context.attempt < 3:
                raise ValueError

        station.declare(handler, guarantee="at_least_once")
        arrive("ICE 1")
        run_until_idle()
        assert calls == [1, 2, 3]
        assert outcomes() == ["retried", "retried", "handled"]
        assert list(Attempt.objects.order_by("id").values_list("number", flat=True)) == [1, 2, 3]
