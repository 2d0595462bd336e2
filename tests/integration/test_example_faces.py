"""The HTTP faces of payments, telemetry and training: what comes in is taken once or refused with its field."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from examples.payments.ledger import deposit
from examples.payments.models import Payment
from examples.training.models import TrainingRun
from messaging.ids import new_id
from messaging.models import Message

pytestmark = pytest.mark.django_db
PAYMENT = {"account": "AC-001", "merchant": "M-BOOKS", "amount_cents": 1250, "country": "DE", "device": "dev_known"}


def post(path: str, body: Any) -> Any:
    return Client().post(path, body, content_type="application/json")


def reading(**changes: Any) -> dict[str, Any]:
    given = {"reading_id": str(new_id()), "sensor": "boiler-1", "kind": "temperature", "value": 64.1, "unit": "°C"}
    return {**given, "measured_at": timezone.now().isoformat(), **changes}


class TestBank:
    def test_takes_a_payment_once(self) -> None:
        deposit("AC-001", 100_00)
        wanted = {**PAYMENT, "payment_id": str(new_id())}
        first, second = post("/bank/payments", wanted), post("/bank/payments", wanted)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert Payment.objects.count() == Message.objects.filter(type="payments.PaymentInitiated").count() == 1
        assert Client().get(first["Location"]).json()["state"] == "initiated"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [({}, "account"), ({"amount_cents": 0}, "amount_cents"), ({"country": "Germany"}, "country")],
    )
    def test_names_what_is_wrong(self, changes: dict[str, Any], field: str) -> None:
        answer = post("/bank/payments", {**PAYMENT, **changes})
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert not Payment.objects.exists()

    def test_refuses_an_id_that_belongs_to_another_payment(self) -> None:
        deposit("AC-001", 100_00)
        deposit("AC-002", 100_00)
        wanted = {**PAYMENT, "payment_id": str(new_id())}
        assert post("/bank/payments", wanted).status_code == 201
        for change in ({"amount_cents": 1251}, {"account": "AC-002"}):
            answer = post("/bank/payments", {**wanted, **change})
            assert (answer.status_code, answer.json()["field"]) == (409, "payment_id")
        assert Payment.objects.count() == 1

    def test_knows_no_other_payment(self) -> None:
        assert Client().get(f"/bank/payments/{new_id()}").status_code == 404


class TestPlant:
    def test_takes_many_readings_at_once(self) -> None:
        answer = post("/plant/readings", [reading(), reading(sensor="pump-1", kind="vibration", unit="mm/s")])
        assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
        assert Message.objects.filter(type="telemetry.TelemetryReceived").count() == 2

    def test_takes_none_if_one_is_wrong(self) -> None:
        answer = post("/plant/readings", [reading(), reading(sensor="Boiler 1")])
        assert (answer.status_code, answer.json()["field"]) == (422, "[1].sensor")
        assert not Message.objects.exists()

    def test_refuses_what_is_no_list(self) -> None:
        assert post("/plant/readings", reading()).status_code == 400


class TestLaboratory:
    def test_starts_a_run_once(self) -> None:
        wanted = {"run_id": str(new_id()), "dataset": "breast_cancer"}
        first, second = post("/lab/runs", wanted), post("/lab/runs", wanted)
        assert (first.status_code, second.status_code) == (201, 201)
        assert TrainingRun.objects.count() == Message.objects.filter(type="training.TrainModel").count() == 1
        assert Client().get(first["Location"]).json()["dataset"] == "breast_cancer"

    def test_refuses_an_id_that_belongs_to_another_run(self) -> None:
        wanted = {"run_id": str(new_id()), "dataset": "breast_cancer"}
        assert post("/lab/runs", wanted).status_code == 201
        answer = post("/lab/runs", {**wanted, "seed": 1})
        assert (answer.status_code, answer.json()["field"]) == (409, "run_id")

    def test_names_what_is_wrong(self) -> None:
        answer = post("/lab/runs", {"dataset": "breast_cancer", "strength": 0})
        assert (answer.status_code, answer.json()["field"]) == (422, "strength")
