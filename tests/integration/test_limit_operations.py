"""Operators trip, reset and limit: by function, REST, page and command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from messaging import Breaker, Dependency, OperationRefused, Rate
from messaging.consumers import Consumer
from messaging.database import store
from messaging.delivery import gate
from messaging.delivery.loop import deliver_once
from messaging.dependencies import forget_dependency
from messaging.ids import new_id
from messaging.models import AuditRecord, Gate
from messaging.operations import clear_override, override_limits, reset_breaker, trip_breaker
from messaging.queries.consumers import get_consumer
from messaging.testing import run_until_idle
from tests.api import Api
from tests.factories import ANA, ANNOUNCE, BEN, EVE, arrive, claim, ledger, relay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def guarded(station: Any) -> Consumer:
    declared: Consumer = station.declare(breaker=Breaker(), rate_limit=Rate(100), concurrency=3)
    arrive(*(f"ICE {n}" for n in range(6)))
    relay()
    return declared


@pytest.fixture
def signal_box(station: Any) -> Iterator[None]:
    Dependency("signal-box")
    station.declare(depends_on=("signal-box",))
    yield
    forget_dependency("signal-box")


class TestTrip:
    def test_holds_the_consumer_until_it_is_reset(self, guarded: Consumer) -> None:
        trip_breaker(kind="consumer", name=ANNOUNCE, actor=ANA, reason="wrong points")
        assert (deliver_once(guarded), gate.shut()) == (0, {ANNOUNCE})
        row = get_consumer(ANNOUNCE)
        assert row is not None
        assert row.gate is not None
        assert (row.gate.breaker, row.gate.opened_by, row.gate.open_reason) == ("open", "ana", "wrong points")
        reset_breaker(kind="consumer", name=ANNOUNCE, actor=BEN)
        run_until_idle()
        assert len(ledger()) == 6
        assert set(AuditRecord.objects.values_list("action", flat=True)) >= {"breaker.trip", "breaker.reset"}

    def test_ends_with_a_probe_when_its_time_is_over(self, guarded: Consumer) -> None:
        soon = store().now() + timedelta(hours=1)
        trip_breaker(kind="consumer", name=ANNOUNCE, actor=ANA, reason="works", until=soon)
        Gate.objects.update(open_until=store().now())
        assert deliver_once(guarded) == 1
        assert not gate.shut()

    def test_in_the_middle_of_a_claim_gives_the_rest_back(self, station: Any) -> None:
        from tests.factories import write

        def handler(event: Any, context: Any) -> None:
            write(event.train)
            if event.train == "ICE 1":
                trip_breaker(kind="consumer", name=ANNOUNCE, actor=ANA, reason="stop")

        consumer = station.declare(handler, breaker=Breaker(), guarantee="at_least_once")
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        assert deliver_once(consumer) == 3
        assert ledger() == ["ICE 1"]

    def test_refuses_what_makes_no_sense(self, guarded: Consumer, station: Any) -> None:
        station.declare(name="station.plain")
        past = store().now() - timedelta(hours=1)
        for given, code in [
            ({"name": "nobody"}, "not_found"),
            ({"name": "nul\x00"}, "not_found"),
            ({"kind": "dependency"}, "not_found"),
            ({"name": "station.plain"}, "conflict"),
            ({"until": past}, "invalid"),
            ({"reason": " "}, "invalid"),
            ({"actor": EVE}, "forbidden"),
        ]:
            with pytest.raises(OperationRefused) as refused:
                trip_breaker(**({"kind": "consumer", "name": ANNOUNCE, "actor": ANA, "reason": "r"} | given))
            assert refused.value.code == code, given
        with pytest.raises(OperationRefused, match="not open"):
            reset_breaker(kind="consumer", name=ANNOUNCE, actor=ANA)
        trip_breaker(kind="consumer", name=ANNOUNCE, actor=ANA, reason="r", request_id="1")
        trip_breaker(kind="consumer", name=ANNOUNCE, actor=ANA, reason="r", request_id="1")
        with pytest.raises(OperationRefused, match="by ana already"):
            trip_breaker(kind="consumer", name=ANNOUNCE, actor=BEN, reason="r")


class TestOverride:
    def test_concurrency_lowered_while_running_is_respected(self, guarded: Consumer) -> None:
        first, second = claim(limit=1), claim(limit=1, worker=new_id())
        override_limits(name=ANNOUNCE, actor=ANA, reason="calm", concurrency=1)
        assert deliver_once(guarded) == 0
        store().release(first)
        assert deliver_once(guarded) == 0
        store().release(second)
        assert deliver_once(guarded) > 0
        run_until_idle()
        assert len(ledger()) == 6

    def test_of_the_rate_holds_until_it_is_cleared(self, guarded: Consumer) -> None:
        override_limits(name=ANNOUNCE, actor=ANA, reason="calm", rate=(2, "1h", None))
        assert sum(deliver_once(guarded) for _ in range(9)) == 2
        row = get_consumer(ANNOUNCE)
        assert row is not None
        assert row.limits_in_force == {"rate_limit": {"count": 2, "per": "1h", "burst": None}, "concurrency": 3}
        clear_override(name=ANNOUNCE, actor=BEN)
        Gate.objects.update(tokens_at=store().now() - timedelta(minutes=1))
        run_until_idle()
        assert len(ledger()) == 6

    def test_reaches_a_consumer_without_limits_with_the_next_heartbeat(self, station: Any) -> None:
        plain = station.declare()
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        override_limits(name=ANNOUNCE, actor=ANA, reason="calm", rate=(2, "1h", None))
        gate.refresh()
        assert sum(deliver_once(plain) for _ in range(5)) == 2
        clear_override(name=ANNOUNCE, actor=ANA)
        gate.refresh()
        run_until_idle()
        assert len(ledger()) == 3

    def test_reaches_a_worker_that_begins_later_with_its_first_claim(self, station: Any) -> None:
        plain = station.declare()
        arrive("ICE 1", "ICE 2", "ICE 3")
        relay()
        override_limits(name=ANNOUNCE, actor=ANA, reason="calm", rate=(2, "1h", None))
        assert sum(deliver_once(plain) for _ in range(5)) == 2

    def test_refuses_what_makes_no_sense(self, guarded: Consumer) -> None:
        for given, field in [
            ({}, "rate"),
            ({"rate": (0, "1s", None)}, "rate"),
            ({"rate": (1, "soon", None)}, "rate"),
            ({"rate": (float("nan"), "1s", None)}, "rate"),
            ({"rate": (float("inf"), "1s", None)}, "rate"),
            ({"concurrency": 0}, "concurrency"),
            ({"name": "nobody", "concurrency": 1}, "name"),
            ({"concurrency": 1, "reason": ""}, "reason"),
        ]:
            with pytest.raises(OperationRefused) as refused:
                override_limits(**({"name": ANNOUNCE, "actor": ANA, "reason": "r"} | given))
            assert refused.value.field == field, given
        with pytest.raises(OperationRefused, match="of its code"):
            clear_override(name=ANNOUNCE, actor=ANA)


class TestRest:
    def test_does_all_of_it(self, guarded: Consumer, signal_box: None) -> None:
        api = Api("operate", "read")
        for path, body in [
            (f"/consumers/{ANNOUNCE}/drain", {"reason": "r"}),
            (f"/consumers/{ANNOUNCE}/resume", {}),
            (f"/consumers/{ANNOUNCE}/limits", {"reason": "r", "rate": {"count": 5, "per": "1m"}, "concurrency": 2}),
            (f"/consumers/{ANNOUNCE}/limits/clear", {}),
            ("/dependencies/signal-box/trip", {"reason": "r"}),
            ("/dependencies/signal-box/reset", {"reason": "r"}),
        ]:
            assert api.post(path, body).status_code == 200, path
        listed = api.get("/dependencies").json()["items"]
        assert ("signal-box", "closed", [ANNOUNCE]) in [
            (row["name"], row["breaker"], row["consumers"]) for row in listed
        ]
        assert api.get("/dependencies/nobody").status_code == 404
        assert api.post("/dependencies/nobody/trip", {"reason": "r"}).status_code == 404


class TestCommand:
    def run(self, *words: str) -> str:
        out = StringIO()
        call_command(*words, stdout=out)
        return out.getvalue()

    def test_holds_and_frees_a_consumer(self, guarded: Consumer) -> None:
        assert "breaker open" in self.run("consumers", "trip", ANNOUNCE, "--reason", "r", "--for", "15m")
        assert "breaker" not in self.run("consumers", "reset", ANNOUNCE)
        limited = self.run("consumers", "limit", ANNOUNCE, "--rate", "5/1m", "--concurrency", "2", "--reason", "r")
        assert "limited by an operator" in limited
        assert "limited" not in self.run("consumers", "unlimit", ANNOUNCE)
        assert "draining" in self.run("consumers", "drain", ANNOUNCE, "--reason", "r")
        assert "running" in self.run("consumers", "resume", ANNOUNCE)
        assert ANNOUNCE in self.run("consumers", "list")
        assert "rate_limit" in self.run("consumers", "show", ANNOUNCE)

    def test_trips_a_dependency(self, signal_box: None) -> None:
        assert "open" in self.run("dependencies", "trip", "signal-box", "--reason", "r")
        assert ANNOUNCE in self.run("dependencies", "list")
        assert "closed" in self.run("dependencies", "reset", "signal-box")

    def test_says_what_was_refused(self, guarded: Consumer) -> None:
        with pytest.raises(CommandError, match="no consumer"):
            self.run("consumers", "drain", "nobody", "--reason", "r")
        with pytest.raises(CommandError, match="no rate"):
            self.run("consumers", "limit", ANNOUNCE, "--rate", "fast", "--reason", "r")
