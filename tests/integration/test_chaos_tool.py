"""manage.py chaos: faults that an operator injects, where the settings allow it and nowhere else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import Context, OperationRefused, Retry, chaos, wakeups
from messaging.database import store
from messaging.delivery.loop import deliver_once, deliver_waiting
from messaging.models import AuditRecord, Delivery, InjectedFault
from messaging.operations import Faults, end_faults, inject_faults
from messaging.queries.faults import injected_faults
from messaging.relay import Relay
from messaging.settings import options
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.deaths import bury, dies
from tests.factories import ANA, ANNOUNCE, CLEAN, EVE, TrainArrived, arrive, ledger, outcomes, relay, write

pytestmark = pytest.mark.django_db(transaction=True)
SOON = Retry(immediate=2, delays=())


@pytest.fixture
def allowed() -> Iterator[None]:
    """A system on which faults are allowed."""
    before = settings.MESSAGING
    settings.MESSAGING = {**before, "allow_faults": True}
    options.cache_clear()
    chaos.forget()
    yield
    settings.MESSAGING = before
    options.cache_clear()
    chaos.forget()


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The consumers to which wake-ups were really sent, of which none waits in the broker."""
    sent: list[str] = []
    monkeypatch.setattr(wakeups, "send", lambda connection, queue, consumer: sent.append(consumer))
    monkeypatch.setattr(wakeups, "waiting", lambda connection, queue: 0)
    return sent


def inject(consumer: str = ANNOUNCE, *, actor: Any = ANA, **faults: float) -> None:
    inject_faults(
        consumer=consumer, faults=Faults(**faults), lasts=timedelta(minutes=10), actor=actor, reason="a game day"
    )


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("chaos", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("allowed")
class TestInjectedFaults:
    def test_fail_runs_until_they_are_ended(self, station: Any) -> None:
        station.declare(retry=Retry(immediate=0, delays=("1h",)))
        inject(failure_rate=1.0)
        arrive("ICE 1")
        run_until_idle()
        assert (ledger(), outcomes()) == ([], ["retried"])
        assert end_faults(actor=ANA) == 1
        Delivery.objects.update(available_at=store().now())
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_are_named_in_the_failure_they_cause(self, station: Any) -> None:
        from messaging.models import Attempt

        station.declare(retry=Retry(immediate=0, delays=()))
        inject(failure_rate=1.0)
        arrive("ICE 1")
        run_until_idle()
        attempt = Attempt.objects.get()
        assert (attempt.error_type or "").endswith("InjectedFailure")
        assert attempt.error_message == "Injected by ana: a game day"

    def test_leave_other_consumers_alone(self, station: Any) -> None:
        station.declare(retry=SOON)
        station.declare(name=CLEAN)
        inject(failure_rate=1.0)
        arrive("ICE 1")
        run_until_idle()
        assert (outcomes()[-1], outcomes(consumer=CLEAN)) == ("dead_lettered", ["handled"])

    def test_for_every_consumer_spare_the_one_with_its_own(self, station: Any) -> None:
        station.declare()
        station.declare(name=CLEAN, retry=SOON)
        inject("*", failure_rate=1.0)
        inject(ANNOUNCE, delay_seconds=0.001)
        arrive("ICE 1")
        run_until_idle()
        assert (outcomes(), outcomes(consumer=CLEAN)[-1]) == (["handled"], "dead_lettered")

    @pytest.mark.parametrize(("guarantee", "effects"), [("exactly_once", 1), ("at_least_once", 2), ("at_most_once", 1)])
    def test_bring_a_message_again_as_its_guarantee_allows(
        self, station: Any, guarantee: str, effects: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rolls = iter([0.9, 0.9, 0.0, 0.9, 0.9, 0.9])  # crash, failure, redelivery; and once more
        monkeypatch.setattr(chaos.dice, "random", lambda: next(rolls, 0.9))
        calls: list[str] = []

        def handler(event: TrainArrived, context: Context) -> None:
            calls.append(event.train)
            write(event.train)

        station.declare(handler, guarantee=guarantee)
        inject(redelivery_rate=0.5)
        arrive("ICE 1")
        run_until_idle()
        assert ledger() == ["ICE 1"] * effects
        assert len(calls) == (1 if guarantee == "at_most_once" else 2)
        assert outcomes()[-1] == "handled"

    def test_delay_each_delivery_outside_any_transaction(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        from messaging.delivery import loop

        waits: list[tuple[float, bool]] = []
        monkeypatch.setattr(loop, "pause", lambda seconds: waits.append((seconds, connection.in_atomic_block)))
        station.declare()
        inject(delay_seconds=2.0)
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        assert waits == [(2.0, False)] * 2
        assert ledger() == ["ICE 1", "ICE 2"]

    def test_lose_and_repeat_wake_ups(self, station: Any) -> None:
        station.declare()
        inject(wakeup_loss_rate=1.0)
        assert chaos.wakeups(ANNOUNCE, 3) == 0
        inject(wakeup_repeat_rate=1.0)
        assert chaos.wakeups(ANNOUNCE, 3) == 6

    def test_of_wake_ups_that_are_lost_leave_the_message_to_the_next_look(self, station: Any, woken: list[str]) -> None:
        station.declare()
        relaying = Relay()
        inject(wakeup_loss_rate=1.0)
        arrive("ICE 1")
        relaying.step()
        assert woken == []
        end_faults(actor=ANA)
        relaying._look_at = 0
        relaying.step()
        assert set(woken) == {ANNOUNCE}
        deliver_waiting(ANNOUNCE)
        assert ledger() == ["ICE 1"]

    def test_of_wake_ups_that_come_twice_bring_the_message_once(self, station: Any, woken: list[str]) -> None:
        station.declare()
        relaying = Relay()
        inject(wakeup_repeat_rate=1.0)
        arrive("ICE 1")
        relaying.step()
        assert woken == [ANNOUNCE, ANNOUNCE]
        end_faults(actor=ANA)
        arrive("ICE 2")
        relaying.step()
        assert woken == [ANNOUNCE, ANNOUNCE, ANNOUNCE]
        for name in woken:
            deliver_waiting(name)
        assert (ledger(), outcomes()) == (["ICE 1", "ICE 2"], ["handled", "handled"])

    @pytest.mark.only_on("postgresql")
    def test_kill_the_process_that_delivers(self, station: Any) -> None:
        consumer = station.declare()
        inject(crash_rate=1.0)
        arrive("ICE 1")
        relay()
        assert dies(lambda: deliver_once(consumer))
        assert (bury(), outcomes()) == (1, ["crashed"])
        end_faults(actor=ANA)
        run_until_idle()
        assert (ledger(), outcomes()) == (["ICE 1"], ["crashed", "handled"])
        assert verify().is_sound

    def test_end_by_themselves(self, station: Any) -> None:
        station.declare()
        inject(failure_rate=1.0)
        InjectedFault.objects.update(until=store().now() - timedelta(seconds=1))
        chaos.forget()
        arrive("ICE 1")
        run_until_idle()
        assert (ledger(), injected_faults()) == (["ICE 1"], ())

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"failure_rate": 1.5}, "failure_rate"),
            ({"crash_rate": -0.1}, "crash_rate"),
            ({"failure_rate": float("nan")}, "failure_rate"),
            ({"delay_seconds": 61.0}, "delay_seconds"),
            ({}, "failure_rate"),
        ],
    )
    def test_are_refused_where_a_value_makes_no_sense(self, station: Any, given: dict[str, float], field: str) -> None:
        station.declare()
        with pytest.raises(OperationRefused) as refused:
            inject(**given)
        assert (refused.value.code, refused.value.field) == ("invalid", field)

    def test_of_an_unknown_consumer_are_refused(self) -> None:
        with pytest.raises(OperationRefused, match="There is no consumer 'nobody'"):
            inject("nobody", failure_rate=0.5)

    @pytest.mark.only_on("sqlite")
    def test_never_crash_the_embedded_process(self, station: Any) -> None:
        station.declare()
        with pytest.raises(OperationRefused, match="pages and relay would die"):
            inject(crash_rate=0.1)

    def test_are_audited_when_they_begin_end_and_are_denied(self, station: Any) -> None:
        station.declare()
        inject(failure_rate=0.1)
        end_faults(actor=ANA)
        with pytest.raises(OperationRefused):
            inject(actor=EVE, failure_rate=0.1)
        records = AuditRecord.objects.order_by("id").values_list("action", "outcome", "target")
        assert list(records) == [
            ("faults.inject", "done", f"consumer:{ANNOUNCE}"),
            ("faults.end", "done", f"consumer:{ANNOUNCE}"),
            ("faults.inject", "denied", f"consumer:{ANNOUNCE}"),
        ]

    def test_asked_for_twice_by_one_request_are_injected_once(self, station: Any) -> None:
        station.declare()
        for _ in range(2):
            inject_faults(
                consumer=ANNOUNCE, faults=Faults(failure_rate=0.1), lasts=timedelta(minutes=1), actor=ANA,
                reason="a game day", request_id="one",
            )  # fmt: skip
        assert AuditRecord.objects.filter(action="faults.inject").count() == 1


class TestWhereFaultsAreNotAllowed:
    def test_they_are_refused_with_the_remedy(self, station: Any) -> None:
        station.declare()
        with pytest.raises(OperationRefused, match="SIGNALBOX_ALLOW_FAULTS=1") as refused:
            inject(failure_rate=0.1)
        assert refused.value.code == "conflict"

    def test_a_row_that_is_there_does_nothing_and_is_not_read(self, station: Any) -> None:
        station.declare()
        now = store().now()
        InjectedFault.objects.create(
            consumer=ANNOUNCE, failure_rate=1.0, until=now + timedelta(hours=1), set_at=now, set_by="ana", reason="left"
        )
        arrive("ICE 1")
        with CaptureQueriesContext(connection) as queries:
            run_until_idle()
        assert ledger() == ["ICE 1"]
        assert not [query for query in queries if "injectedfault" in query["sql"]]


class TestCommand:
    @pytest.mark.usefixtures("allowed")
    def test_injects_shows_and_ends(self, station: Any) -> None:
        station.declare()
        said = command("on", "--consumer", ANNOUNCE, "--failure-rate", "0.1", "--delay", "2s", "--for", "10m")
        assert f"{ANNOUNCE}: 10 % of runs fail, each delivery waits 2 s; until" in said
        [row] = json.loads(command("status", "--json"))
        assert (row["consumer"], row["failure_rate"], row["delay_seconds"]) == (ANNOUNCE, 0.1, 2.0)
        assert command("off") == "1 ended.\n"
        assert command("status") == "No fault is injected.\n"

    def test_says_why_it_may_not(self, station: Any) -> None:
        station.declare()
        with pytest.raises(CommandError, match="Faults are not allowed on this system"):
            command("on", "--consumer", ANNOUNCE, "--failure-rate", "0.1")

    @pytest.mark.usefixtures("allowed")
    def test_names_a_duration_that_it_cannot_read(self, station: Any) -> None:
        station.declare()
        with pytest.raises(CommandError, match="'soon' is not a duration"):
            command("on", "--consumer", ANNOUNCE, "--failure-rate", "0.1", "--for", "soon")
