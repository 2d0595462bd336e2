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
from tests.factories import ANA, EVE
from tests.integration.test_sagas import to_meal
from tests.journeys import MealRefused, SeatReleased, journeys

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
