"""Back-pressure: an ingress refuses what would add to a backlog over its limit, and loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console import tokens
from messaging import pressure
from messaging.models import ConsumerState, Delivery, Message, QuarantinedMessage
from messaging.testing import run_until_idle
from tests.api import Api, problem
from tests.factories import ANNOUNCE, CLEAN, DoorsOpened, TrainArrived, arrive, ledger, relay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def behind(station: Any) -> None:
    """The announcer with a limit of ten, and eleven trains waiting."""
    station.declare(backlog_limit=10)
    arrive(*(f"ICE {n}" for n in range(11)))
    relay()
    assert pressure.note() == 1


def shrink_to(count: int) -> None:
    for row in Delivery.objects.order_by("message_id")[: Delivery.objects.count() - count]:
        row.delete()


class TestBehind:
    def test_is_noted_above_the_limit_and_taken_back_well_below_it(self, station: Any, behind: None) -> None:
        assert pressure.behind(TrainArrived) == (ANNOUNCE,)
        shrink_to(9)
        assert (pressure.note(), pressure.behind()) == (0, (ANNOUNCE,))
        shrink_to(8)
        assert (pressure.note(), pressure.behind()) == (1, ())

    def test_concerns_only_what_its_consumer_wants(self, behind: None) -> None:
        assert pressure.behind(DoorsOpened) == ()

    def test_ends_with_a_release_that_has_no_limit(self, station: Any, behind: None) -> None:
        station.declare()
        assert (pressure.note(), pressure.behind()) == (1, ())

    def test_is_not_noted_at_the_limit(self, station: Any) -> None:
        station.declare(backlog_limit=3)
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        assert pressure.note() == 0

    def test_refuses_nothing_of_ones_own_code(self, behind: None) -> None:
        arrive("ICE 99")
        run_until_idle()
        assert "ICE 99" in ledger()


def train(name: str) -> dict[str, Any]:
    return {"type": TrainArrived.contract_name, "version": 1, "data": {"train": name}}


class TestRest:
    def test_answers_429_with_a_time_and_stores_nothing(self, behind: None) -> None:
        _, token = tokens.create(name="till", scopes=["publish"])
        before = Message.objects.count()
        sent: dict[str, Any] = {
            "data": json.dumps(train("ICE 50") | {"id": "50"}), "content_type": "application/json",
            "headers": {"Authorization": f"Bearer {token}", "Idempotency-Key": "50"},
        }  # fmt: skip
        answer = Client().post("/api/v1/messages", **sent)
        assert (answer.status_code, answer["Content-Type"]) == (429, "application/problem+json")
        assert (answer.json()["code"], int(answer["Retry-After"]) > 0) == ("backlogged", True)
        assert ANNOUNCE in answer.json()["detail"]
        assert (Message.objects.count(), QuarantinedMessage.objects.count()) == (before, 0)
        ConsumerState.objects.update(behind_since=None)
        assert Client().post("/api/v1/messages", **sent).status_code == 202

    def test_takes_in_what_the_filter_of_the_one_behind_keeps_out(self, station: Any) -> None:
        station.declare(filter={"train": [{"prefix": "ICE"}], "envelope.key": ["north"]}, backlog_limit=1)
        station.declare(name=CLEAN)
        arrive("ICE 1", "ICE 2", key="north")
        relay()
        assert pressure.note() == 1
        api = Api("publish")
        refused = problem(api.post("/messages", train("ICE 3") | {"key": "north"}), 429)
        assert ANNOUNCE in refused["detail"]
        assert api.post("/messages", train("ICE 4") | {"key": "south"}).status_code == 202
        assert api.post("/messages", train("RB 1") | {"key": "north"}).status_code == 202
        relay()
        assert Delivery.objects.filter(consumer=ANNOUNCE).count() == 2
        assert Delivery.objects.filter(consumer=CLEAN).count() == 4

    def test_asks_the_filters_of_all_that_are_behind(self, station: Any) -> None:
        station.declare(filter={"train": [{"prefix": "ICE"}]}, backlog_limit=1)
        station.declare(name=CLEAN, filter={"train": [{"suffix": "1"}]}, backlog_limit=1)
        arrive("ICE 1", "ICE 1")
        relay()
        assert pressure.note() == 2
        refused = problem(Api("publish").post("/messages", train("RB 1")), 429)
        assert (CLEAN in refused["detail"], ANNOUNCE in refused["detail"]) == (True, False)

    def test_asks_once_when_nobody_is_behind(self, station: Any) -> None:
        station.declare(filter={"train": [{"prefix": "ICE"}]}, backlog_limit=10)
        api = Api("publish")
        api.post("/messages", train("ICE 1"))  # notes that the token was used
        with CaptureQueriesContext(connection) as statements:
            assert api.post("/messages", train("ICE 2")).status_code == 202
        assert sum("behind_since" in query["sql"] for query in statements) == 1
        assert not any("messaging_subscription" in query["sql"] for query in statements)


class TestIngestCommand:
    def test_stops_says_where_and_goes_on_from_there(self, station: Any, tmp_path: Path, capsys: Any) -> None:
        station.declare(backlog_limit=10)
        lines = [json.dumps(train(f"ICE {n:03}")) for n in range(150)]
        file = tmp_path / "trains.jsonl"
        file.write_text("\n".join(lines[:100]))
        call_command("ingest", str(file))
        relay()
        pressure.note()
        file.write_text("\n".join(lines))
        with pytest.raises(CommandError, match="--from-line 101") as stopped:
            call_command("ingest", str(file), from_line=101)
        assert stopped.value.returncode == 3
        assert QuarantinedMessage.objects.count() == 0
        run_until_idle()
        pressure.note()
        call_command("ingest", str(file), from_line=101)
        run_until_idle()
        assert ledger() == [f"ICE {n:03}" for n in range(150)]
