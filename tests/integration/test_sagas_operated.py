"""What operators see of sagas and do to them: page, REST, command line, recount."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client

from messaging.errors import OperationRefused
from messaging.models import AuditRecord, SagaTransition
from messaging.operations import compensate_saga, complete_saga, fire_saga_timeout, retry_saga
from messaging.queries.sagas import troubled_sagas
from messaging.sagas.recount import illegal_moves
from messaging.testing import harness
from tests.api import Api, problem
from tests.factories import ANA, EVE
from tests.integration.test_sagas import to_meal
from tests.journeys import JourneyPlanned, MealRefused, SeatBooked, SeatReleased, journeys

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "tests.Journey"
ONE = {"saga": NAME, "correlation": "j1"}


@pytest.fixture
def journey() -> Iterator[Any]:
    with journeys() as declared:
        yield declared


@pytest.fixture
def h(journey: Any) -> Iterator[Any]:
    with harness() as running:
        yield running


@pytest.fixture
def ana() -> Client:
    user = User.objects.create_user("ana")
    user.groups.add(Group.objects.get(name="operator"))
    client = Client()
    client.force_login(user)
    return client


class TestOperator:
    def test_compensates_an_instance_with_a_reason_once(self, h: Any, journey: Any) -> None:
        to_meal(h)
        for _ in range(2):
            compensate_saga(**ONE, actor=ANA, reason="the train is cancelled", request_id="r1")
        h.run()
        seen = h.saga(journey, "j1", state="cancelled")
        assert seen.undone == ("seat",)
        assert [each.actor for each in seen.history if each.kind == "operator"] == ["ana"]
        assert AuditRecord.objects.filter(action="saga.compensate", outcome="done").count() == 1
        h.published(SeatReleased, times=1)
        with pytest.raises(OperationRefused, match="has ended"):
            compensate_saga(**ONE, actor=ANA, reason="again")

    def test_completes_an_instance_in_a_final_state_only(self, h: Any, journey: Any) -> None:
        to_meal(h)
        with pytest.raises(OperationRefused, match="no final state"):
            complete_saga(**ONE, to="awaiting_seat", actor=ANA, reason="done by phone")
        complete_saga(**ONE, to="confirmed", actor=ANA, reason="done by phone")
        h.run()
        assert h.saga(journey, "j1", state="confirmed").pending == ()

    def test_runs_a_failed_compensation_again(self) -> None:
        broken = [True]

        def undo() -> None:
            if broken[0]:
                raise RuntimeError("the railway is closed")

        with journeys(undo=undo) as journey, harness() as h:
            to_meal(h)
            h.publish(MealRefused(journey="j1"))
            h.advance("1m")
            assert [row.is_failed for row in troubled_sagas()] == [True]
            broken[0] = False
            retry_saga(**ONE, actor=ANA, reason="open again")
            h.run()
            assert h.saga(journey, "j1", state="cancelled").undone == ("seat",)
            assert troubled_sagas() == ()

    def test_fires_a_timeout_now(self, h: Any, journey: Any) -> None:
        to_meal(h)
        fire_saga_timeout(**ONE, timeout="too_slow", actor=ANA, reason="no need to wait")
        h.run()
        h.saga(journey, "j1", state="cancelled")

    def test_is_refused_without_the_permission_and_audited(self, h: Any, journey: Any) -> None:
        to_meal(h)
        with pytest.raises(OperationRefused, match="may not"):
            compensate_saga(**ONE, actor=EVE, reason="let me")
        assert AuditRecord.objects.filter(action="saga.compensate", outcome="denied").count() == 1

    def test_sees_the_list_and_the_instance_and_acts_from_its_page(self, h: Any, ana: Client) -> None:
        to_meal(h)
        assert "j1" in ana.get("/sagas").content.decode()
        page = ana.get(f"/sagas/{NAME}/j1").content.decode()
        assert "awaiting_meal" in page
        assert "<svg" in page
        assert "12A" in page
        ana.post(f"/sagas/{NAME}/j1/compensate", {"reason": "too late", "to": "cancelled"})
        h.run()
        assert "undone" in ana.get(f"/sagas/{NAME}/j1").content.decode()
        assert ana.get(f"/sagas/{NAME}/nobody").status_code == 404

    def test_repairs_from_the_command_line(self, h: Any, journey: Any) -> None:
        to_meal(h)
        out = StringIO()
        call_command("sagas", "list", stdout=out)
        assert "awaiting_meal" in out.getvalue()
        call_command("sagas", "compensate", NAME, "j1", "--reason", "too late", stdout=out)
        h.run()
        call_command("sagas", "show", NAME, "j1", stdout=out)
        assert "compensating → cancelled" in out.getvalue()
        with pytest.raises(CommandError, match="has ended"):
            call_command("sagas", "complete", NAME, "j1", "--to", "confirmed", "--reason", "no", stdout=out)


class TestRest:
    WHY = {**ONE, "reason": "the train is cancelled"}

    def test_lists_what_is_unfinished_and_shows_one(self, h: Any) -> None:
        to_meal(h)
        api = Api("read")
        [row] = api.get("/sagas").json()["items"]
        assert (row["saga"], row["correlation"], row["state"], row["pending"]) == (NAME, "j1", "awaiting_meal", 1)
        shown = api.get(f"/sagas/{NAME}/j1").json()
        assert shown["data"] == {"journey": "j1", "seats": 1, "seat": "12A", "is_told": False}
        assert list(shown["timeouts"]) == ["too_slow"]
        assert [each["state_after"] for each in shown["history"]] == ["awaiting_meal", "awaiting_seat"]
        problem(api.get(f"/sagas/{NAME}/nobody"), 404)

    def test_shows_a_correlation_with_slashes(self, h: Any) -> None:
        to_meal(h, "j/1/x")
        assert Api("read").get(f"/sagas/{NAME}/j/1/x").json()["instance"]["correlation"] == "j/1/x"

    def test_compensates_once_for_one_key(self, h: Any, journey: Any) -> None:
        to_meal(h)
        api = Api("operate", name="robot")
        for _ in range(2):
            answer = api.post("/sagas/compensate", self.WHY, Idempotency_Key="k")
            assert (answer.status_code, answer.json()) == (200, {"accepted": True})
        h.run()
        seen = h.saga(journey, "j1", state="cancelled")
        assert [each.actor for each in seen.history if each.kind == "operator"] == ["robot"]
        assert "has ended" in problem(api.post("/sagas/compensate", self.WHY), 409)["detail"]

    def test_completes_in_a_final_state_only(self, h: Any, journey: Any) -> None:
        to_meal(h)
        api = Api("operate")
        refused = problem(api.post("/sagas/complete", {**self.WHY, "to": "awaiting_seat"}), 422, field="to")
        assert "choose confirmed, cancelled" in refused["detail"]
        assert api.post("/sagas/complete", {**self.WHY, "to": "confirmed"}).status_code == 200
        h.run()
        h.saga(journey, "j1", state="confirmed")

    def test_fires_a_timeout(self, h: Any, journey: Any) -> None:
        to_meal(h)
        api = Api("operate")
        problem(api.post("/sagas/fire-timeout", {**self.WHY, "timeout": "lunch"}), 409)
        assert api.post("/sagas/fire-timeout", {**self.WHY, "timeout": "too_slow"}).status_code == 200
        h.run()
        h.saga(journey, "j1", state="cancelled")

    def test_runs_again_what_failed(self, h: Any, journey: Any) -> None:
        h.publish(JourneyPlanned(journey="j1"))
        h.run()
        h.fail(NAME, times=2)
        h.publish(SeatBooked(journey="j1", seat="7"), key="j1")
        h.advance("1m")
        [row] = Api("read").get("/sagas").json()["items"]
        assert row["is_failed"]
        assert Api("operate").post("/sagas/retry", self.WHY).status_code == 200
        h.run()
        h.saga(journey, "j1", state="awaiting_meal")

    @pytest.mark.parametrize("act", ["retry", "compensate", "complete", "fire-timeout"])
    def test_wants_the_scope_a_reason_and_an_instance(self, h: Any, journey: Any, act: str) -> None:
        to_meal(h)
        problem(Api("read").post(f"/sagas/{act}", self.WHY), 403)
        problem(Api().post(f"/sagas/{act}", self.WHY), 401)
        problem(Api("operate").post(f"/sagas/{act}", ONE), 422, field="reason")
        problem(Api("operate").post(f"/sagas/{act}", {**self.WHY, "correlation": "nobody"}), 404)
        h.saga(journey, "j1", state="awaiting_meal")


class TestRecount:
    def test_finds_nothing_in_what_was_done_and_an_illegal_move_in_what_was_not(self, h: Any, journey: Any) -> None:
        to_meal(h)
        h.publish(MealRefused(journey="j1"))
        h.run()
        assert list(illegal_moves()) == []
        last = SagaTransition.objects.order_by("-id")[0]
        SagaTransition.objects.create(
            instance=last.instance, saga=NAME, correlation="j1", number=last.number + 1, at=last.at, kind="message",
            rule="keep_seat", message_id=last.message_id, message_type="x", state_before="cancelled",
            state_after="awaiting_seat",
        )  # fmt: skip
        assert [each for each in illegal_moves() if "declared nowhere" in each]


class TestMetrics:
    def test_tell_the_unfinished_by_state(self, h: Any, journey: Any) -> None:
        from console.metrics import render

        to_meal(h)
        assert f'signalbox_sagas{{saga="{NAME}",state="awaiting_meal"}} 1.0' in render().decode()
