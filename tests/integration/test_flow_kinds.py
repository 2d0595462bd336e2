"""Flows compared by their first message: the counts, their bounds, the page and its REST twin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from messaging import clock
from messaging.models import Message
from messaging.queries import flow_kinds
from messaging.queries.flow_kinds import FlowKind, list_flows
from tests import rows
from tests.api import Api, problem
from tests.pages import EVIL, row_ids, signed_in

pytestmark = pytest.mark.django_db
PLACED, SUBMITTED = "ecommerce.OrderPlaced", "ecommerce.OrderSubmitted"


def flow(name: str, contract: str = PLACED, *, age: float = 60, ms: float = 100, effects: int = 1) -> Message:
    """Store a flow whose last handling ends ``ms`` after its first message was published."""
    first = rows.message(age=age, type=contract, correlation_id=name, key=name)
    rows.attempt(first, started_at=first.published_at, duration_us=1000)
    for number in range(effects):
        effect = rows.message(
            published_at=first.published_at + timedelta(milliseconds=number + 1), type="ecommerce.StockReserved",
            correlation_id=name, causation_id=str(first.id),
        )  # fmt: skip
        ended = first.published_at + timedelta(milliseconds=ms)
        rows.attempt(effect, started_at=ended - timedelta(milliseconds=5), duration_us=5000)
    return first


def kinds(**hours: float) -> dict[str, FlowKind]:
    found = flow_kinds.flow_kinds(since=clock.now() - timedelta(**(hours or {"hours": 1})))
    return {kind.type: kind for kind in found.kinds}


class TestKinds:
    def test_are_counted_and_timed_by_their_first_message(self) -> None:
        for number in range(1, 21):
            flow(f"placed {number}", ms=number * 10)
        flow("submitted", SUBMITTED, ms=700, effects=3)
        found = kinds()
        assert list(found) == [PLACED, SUBMITTED], "the most frequent first"
        placed, submitted = found[PLACED], found[SUBMITTED]
        assert (placed.flows, placed.p50_ms, placed.p95_ms) == (20, 100.0, 190.0)
        assert (placed.messages, placed.handlings) == (2.0, 2.0)
        assert (submitted.flows, submitted.p50_ms, submitted.messages, submitted.handlings) == (1, 700.0, 4.0, 4.0)

    def test_name_the_saga_that_leads_them(self) -> None:
        flow("a")
        flow("b", SUBMITTED)
        assert {name: kind.saga for name, kind in kinds().items()} == {PLACED: "", SUBMITTED: "orders.OrderFulfilment"}

    def test_tell_what_is_under_way_what_failed_and_what_is_dead(self) -> None:
        rows.delivery(flow("running"))
        rows.attempt(flow("healed"), rows.CHARGE, "retried")
        dead = flow("dead")
        rows.attempt(dead, rows.CHARGE, "dead_lettered")
        rows.dead_letter(dead)
        rows.dead_letter(flow("repaired"), state="resolved")
        rows.outbox(rows.message(correlation_id="new"))
        placed = kinds()[PLACED]
        assert (placed.flows, placed.running, placed.failed, placed.dead) == (5, 2, 2, 1)

    def test_time_nothing_that_is_under_way(self) -> None:
        rows.delivery(flow("running", ms=5000))
        assert kinds()[PLACED].p50_ms is None

    def test_leave_out_flows_that_began_before(self) -> None:
        first = flow("old", age=7200)
        rows.message(correlation_id="old", causation_id=str(first.id), type="ecommerce.OrderConfirmed")
        assert kinds() == {}
        assert kinds(hours=3)[PLACED].flows == 1

    def test_read_the_newest_when_there_is_too_much_and_say_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(10):
            flow(f"{number}", age=100 - number)
        monkeypatch.setattr(flow_kinds, "MESSAGE_CAP", 7)  # three flows and the effect of a fourth
        found = flow_kinds.flow_kinds(since=clock.now() - timedelta(hours=1))
        assert found.is_capped
        assert found.messages == 7
        assert [(kind.type, kind.flows) for kind in found.kinds] == [(PLACED, 3)]
        assert found.since > clock.now() - timedelta(seconds=97)

    def test_cost_the_same_queries_however_many(self, django_assert_num_queries: Any) -> None:
        for number in range(30):
            flow(f"{number}")
        with django_assert_num_queries(3):
            kinds()


class TestList:
    def test_is_read_page_by_page(self, django_assert_num_queries: Any) -> None:
        names = [f"{number}" for number in range(5)]
        for number, name in enumerate(names):
            flow(name, age=100 - number)
        flow("other", SUBMITTED)
        with django_assert_num_queries(4):
            newest = list_flows(PLACED, limit=2)
        older = list_flows(PLACED, limit=2, after=newest.older)
        assert [row.key for row in (*newest.rows, *older.rows)] == ["4", "3", "2", "1"]
        assert [row.key for row in list_flows(PLACED, limit=2, before=older.newer).rows] == ["4", "3"]
        assert (newest.rows[0].duration_ms, newest.rows[0].messages, newest.rows[0].state) == (100.0, 2, "handled")

    def test_tells_how_each_stands(self) -> None:
        dead = flow("dead", age=3)
        rows.dead_letter(dead)
        rows.delivery(flow("running", age=2))
        fresh = rows.message(age=1, correlation_id="fresh")
        rows.outbox(fresh)
        found = {row.correlation_id: (row.state, row.duration_ms) for row in list_flows(PLACED).rows}
        assert found == {"dead": ("dead", 100.0), "running": ("running", 100.0), "fresh": ("running", None)}

    @pytest.mark.parametrize("contract", ["nobody.Knows", "\x00", ""])
    def test_of_an_unknown_type_is_empty(self, contract: str) -> None:
        assert list_flows(contract).rows == ()


@pytest.fixture
def ana() -> Client:
    return signed_in("ana", "view_console")


class TestPage:
    def test_compares_both_forms_of_an_order(self, ana: Client) -> None:
        flow("a", ms=120)
        flow("b", SUBMITTED, ms=340)
        page = ana.get("/flows")
        assert row_ids(page) == [PLACED, SUBMITTED]
        text = page.content.decode()
        assert "120 ms" in text
        assert "340 ms" in text
        assert "/sagas?saga=orders.OrderFulfilment" in text
        assert 'href="/flows" aria-current="page"' in text

    def test_lists_the_flows_of_one_kind(self, ana: Client) -> None:
        first = flow("order 7")
        page = ana.get("/flows", {"type": PLACED})
        assert row_ids(page) == [PLACED, str(first.id)]
        assert 'href="/flows/order%207"' in page.content.decode()

    def test_is_read_again_as_its_part_alone(self, ana: Client) -> None:
        part = ana.get("/flows?range=24h", headers={"HX-Request": "true", "HX-Target": "flow-kinds"}).content.decode()
        assert part.lstrip().startswith('<div class="page-part" id="flow-kinds"')
        assert 'hx-get="/flows?range=24h"' in part

    def test_says_that_nothing_began(self, ana: Client) -> None:
        assert "No flow began" in ana.get("/flows?range=nonsense&after=nonsense").content.decode()

    def test_trusts_nothing(self, ana: Client) -> None:
        flow(EVIL, EVIL[:150])
        for address in ("/flows", "/flows?type=" + EVIL.replace("&", "%26").replace("#", "%23")):
            assert "<script>alert(1)" not in ana.get(address).content.decode()

    def test_is_for_those_who_may_look(self) -> None:
        assert Client().get("/flows").status_code == 302
        assert signed_in("eve").get("/flows").status_code == 403


class TestRest:
    def test_compares_and_lists(self) -> None:
        first = flow("a", ms=120)
        flow("b", SUBMITTED, age=5000, ms=340)
        api = Api("read")
        [kind] = api.get("/flows").json()["kinds"]
        assert (kind["type"], kind["flows"], kind["p50_ms"], kind["saga"]) == (PLACED, 1, 120.0, "")
        since = (clock.now() - timedelta(hours=2)).isoformat()
        assert {each["type"] for each in api.get("/flows", since=since).json()["kinds"]} == {PLACED, SUBMITTED}
        listed = api.get(f"/flows/{PLACED}").json()
        assert [row["id"] for row in listed["items"]] == [str(first.id)]
        assert listed["next"] is None

    def test_refuses_what_it_does_not_know(self) -> None:
        problem(Api().get("/flows"), 401)
        problem(Api("read").get("/flows", since="yesterday"), 422)
        problem(Api("read").get("/flows", sinse="2026-01-01T00:00:00Z"), 400)
        problem(Api("read").get(f"/flows/{PLACED}", colour="red"), 400)
