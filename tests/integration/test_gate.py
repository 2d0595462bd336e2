"""Breakers, rate and concurrency limits, shared by all workers through the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import (
    Breaker,
    Context,
    Dependency,
    PermanentError,
    Rate,
    Retry,
    RetryLater,
    dependency,
)
from messaging.consumers import Consumer
from messaging.database import store
from messaging.delivery import gate
from messaging.delivery.loop import claim_and_deliver, deliver_once, deliver_waiting
from messaging.delivery.presence import presence
from messaging.dependencies import forget_dependency
from messaging.ids import new_id
from messaging.models import Delivery, Gate, Worker
from messaging.rescue import rescue
from messaging.testing import run_until_idle
from tests.factories import (
    ANNOUNCE,
    CLEAN,
    TrainArrived,
    arrive,
    claim,
    elsewhere,
    ledger,
    outcomes,
    relay,
    write,
)
from tests.processes import eventually

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60
AGAIN = Retry(immediate=0, delays=("0s",) * 50)
"""Due again at once, so that only a breaker can keep it waiting."""


class Line:
    """A handler whose line is cut until it is mended."""

    def __init__(self) -> None:
        self.is_cut = True
        self.calls = 0

    def handle(self, event: TrainArrived, context: Context) -> None:
        self.calls += 1
        if self.is_cut:
            raise ConnectionError("the line is cut")
        write(event.train)

    def ask(self, event: TrainArrived, context: Context) -> None:
        if event.train == "bug":
            raise LookupError("a mistake of the handler's own")
        with dependency("signal-box"):
            self.handle(event, context)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def signal_box() -> Iterator[None]:
    Dependency("signal-box", breaker=Breaker(failures=3, open_for="30s"))
    yield
    forget_dependency("signal-box")


def circuit(name: str = f"consumer:{ANNOUNCE}") -> Gate:
    return Gate.objects.get(id=name)


def let_time_pass(name: str = f"consumer:{ANNOUNCE}") -> None:
    """Let the time for which a breaker is open be over."""
    Gate.objects.filter(id=name).update(open_until=store().now() - timedelta(milliseconds=1))


def work(consumer: Consumer, times: int = 20) -> int:
    return sum(deliver_once(consumer) for _ in range(times))


class TestBreaker:
    def test_opened_claims_nothing_and_spends_no_attempt(self, station: Any, line: Line) -> None:
        consumer = station.declare(line.handle, breaker=Breaker(failures=3), retry=AGAIN)
        arrive("ICE 1", "ICE 2")
        relay()
        work(consumer)
        assert outcomes() == ["retried"] * 3
        assert deliver_once(consumer) == 0
        assert ANNOUNCE in gate.shut()
        assert circuit().open_reason == "ConnectionError: the line is cut"
        assert (circuit().times_opened, circuit().held_by_breaker > 0) == (1, True)

    def test_opened_in_a_chunk_gives_the_rest_back(self, station: Any, line: Line) -> None:
        consumer = station.declare(line.handle, breaker=Breaker(failures=2), retry=Retry(immediate=0, delays=("1h",)))
        arrive(*(f"ICE {n}" for n in range(6)))
        relay()
        assert deliver_once(consumer) == 6
        assert outcomes() == ["retried"] * 2
        assert Delivery.objects.filter(claim_token=None, failures=0).count() == 4

    def test_throttled_after_consecutive_failures_one_success_ends_it(self, station: Any, line: Line) -> None:
        consumer = station.declare(line.handle, breaker=Breaker(failures=3), retry=AGAIN)
        arrive(*(f"ICE {n}" for n in range(5)))
        relay()
        work(consumer)
        before = line.calls
        let_time_pass()
        assert [deliver_once(consumer), deliver_once(consumer)] == [1, 0]
        assert line.calls == before + 1
        line.is_cut = False
        let_time_pass()
        assert deliver_once(consumer) == 1
        assert circuit().opened_at is None
        run_until_idle()
        assert ledger() == [f"ICE {n}" for n in range(5)]

    def test_is_not_opened_by_poisoned_messages_or_a_wish_to_wait(self, station: Any) -> None:
        errors = cycle([PermanentError(), RetryLater(0), KeyError("ignored")])

        def handler(event: TrainArrived, context: Context) -> None:
            raise next(errors)

        retry = Retry(immediate=0, delays=(), ignore=(KeyError,))
        consumer = station.declare(handler, breaker=Breaker(failures=2), retry=retry)
        arrive(*(f"ICE {n}" for n in range(8)))
        relay()
        work(consumer)
        assert circuit().opened_at is None

    @pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once", "at_most_once"])
    def test_opens_and_closes_with_each_guarantee(self, station: Any, line: Line, guarantee: str) -> None:
        consumer = station.declare(line.handle, breaker=Breaker(failures=2), guarantee=guarantee, retry=AGAIN)
        arrive(*(f"ICE {n}" for n in range(5)))
        relay()
        work(consumer)
        failed = [outcome for outcome in outcomes() if outcome != "handled"]  # at most once settles first
        assert failed == ["dropped" if guarantee == "at_most_once" else "retried"] * 2
        line.is_cut = False
        let_time_pass()
        assert (deliver_once(consumer), circuit().opened_at) == (1, None)
        run_until_idle()
        assert not Delivery.objects.exists()

    def test_opens_on_a_failure_rate(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if int(event.train) % 2:
                raise ConnectionError("every second one")

        breaker = Breaker(failures=None, rate=0.4, minimum=10)
        consumer = station.declare(handler, breaker=breaker, retry=Retry(immediate=0, delays=()))
        arrive(*(str(n) for n in range(40)))
        relay()
        work(consumer)
        assert circuit().opened_at is not None
        assert outcomes().count("dead_lettered") < 20

    def test_costs_a_consumer_without_limits_no_query(self, station: Any) -> None:
        consumer = station.declare()
        arrive("ICE 1")
        relay()
        presence()  # asks once, as a worker begins
        with CaptureQueriesContext(connection) as statements:
            assert deliver_once(consumer) == 1
        assert [query["sql"] for query in statements if "messaging_gate" in query["sql"]] == []
        assert not Gate.objects.filter(name=ANNOUNCE).exists()


class TestProbe:
    def test_is_one_when_two_workers_race_for_it(self, station: Any, line: Line) -> None:
        consumer = station.declare(line.handle, breaker=Breaker(failures=1), guarantee="at_least_once", retry=AGAIN)
        arrive(*(f"ICE {n}" for n in range(20)))
        relay()
        work(consumer)
        let_time_pass()
        presence()
        start, inside, calls = threading.Barrier(4), threading.Event(), []
        line.is_cut = False

        def probe() -> int:
            start.wait(PATIENCE)
            return deliver_once(consumer)

        def slow(event: TrainArrived, context: Context) -> None:
            calls.append(event.train)
            inside.wait(PATIENCE)

        consumer = station.declare(slow, breaker=Breaker(failures=1), guarantee="at_least_once", retry=AGAIN)
        racers = [elsewhere(probe) for _ in range(4)]
        # Those that lost may be done before the winner comes to its handler.
        eventually(lambda: sum(racer.done() for racer in racers) == 3 and calls, what="the probe")
        assert len(calls) == 1
        inside.set()
        assert sorted(racer.result(PATIENCE) for racer in racers) == [0, 0, 0, 1]
        assert circuit().opened_at is None

    def test_of_a_worker_that_dies_does_not_leave_it_half_open_for_ever(self, station: Any, line: Line) -> None:
        consumer = station.declare(line.handle, breaker=Breaker(failures=1), retry=AGAIN)
        arrive("ICE 1", "ICE 2")
        relay()
        work(consumer)
        let_time_pass()
        dies = new_id()
        Worker.objects.create(
            id=dies, role="worker", name="dies", host="h", pid=1, started_at=store().now(), heartbeat_at=store().now()
        )
        held = gate.claim(
            consumer, token=new_id(), worker=dies, wanted=9, take=lambda limit: bool(claim(limit=limit, worker=dies))
        )
        assert held.is_probe
        line.is_cut = False
        assert deliver_once(consumer) == 0
        Worker.objects.filter(id=dies).update(heartbeat_at=store().now() - timedelta(minutes=1))
        rescue()
        run_until_idle()
        assert circuit().opened_at is None
        assert ledger() == ["ICE 1", "ICE 2"]

    def test_that_told_nothing_lets_the_next_one_go(self, station: Any) -> None:
        errors = iter([ConnectionError(), RetryLater(0)])

        def handler(event: TrainArrived, context: Context) -> None:
            if error := next(errors, None):
                raise error
            write(event.train)

        consumer = station.declare(handler, breaker=Breaker(failures=1), retry=AGAIN)
        arrive("ICE 1")
        relay()
        assert [deliver_once(consumer), deliver_once(consumer)] == [1, 0]
        let_time_pass()
        assert deliver_once(consumer) == 1
        assert circuit().opened_at is not None
        assert deliver_once(consumer) == 1
        assert (circuit().opened_at, ledger()) == (None, ["ICE 1"])


class TestDependency:
    def test_holds_every_consumer_that_needs_it(self, station: Any, line: Line, signal_box: None) -> None:
        first = station.declare(line.ask, depends_on=("signal-box",), retry=AGAIN)
        second = station.declare(line.ask, name=CLEAN, depends_on=("signal-box",), retry=AGAIN)
        arrive("ICE 1")
        relay()
        assert [work(first), work(second)] == [3, 0]
        assert gate.shut() == {ANNOUNCE, CLEAN}
        line.is_cut = False
        let_time_pass("dependency:signal-box")
        assert work(second) == 1
        assert circuit("dependency:signal-box").opened_at is None
        assert (work(first), ledger()) == (1, ["ICE 1", "ICE 1"])

    def test_is_not_blamed_for_the_handlers_own_mistakes(self, station: Any, line: Line, signal_box: None) -> None:
        consumer = station.declare(line.ask, depends_on=("signal-box",), retry=Retry(immediate=9, delays=()))
        arrive("bug")
        relay()
        work(consumer)
        assert outcomes() == ["retried"] * 9 + ["dead_lettered"]
        assert circuit("dependency:signal-box").opened_at is None

    def test_is_blamed_for_a_failure_that_the_handler_bears(self, station: Any, line: Line, signal_box: None) -> None:
        def patient(event: TrainArrived, context: Context) -> None:
            try:
                line.ask(event, context)
            except ConnectionError:
                write("by hand")

        consumer = station.declare(patient, depends_on=("signal-box",), guarantee="at_least_once")
        arrive(*(f"ICE {n}" for n in range(6)))
        relay()
        work(consumer)
        assert ledger() == ["by hand"] * 3

    def test_must_be_named_by_the_consumer_that_calls_it(self, station: Any, line: Line, signal_box: None) -> None:
        station.declare(line.ask, retry=Retry(immediate=0, delays=()))
        (id,) = arrive("ICE 1")
        run_until_idle()
        from tests.factories import dead

        assert 'depends_on=("signal-box",)' in dead(id).error_message


class TestRate:
    def test_is_shared_and_never_exceeded(self, station: Any, virtual_clock: Any) -> None:
        consumer = station.declare(rate_limit=Rate(1, per="1h", burst=25), guarantee="at_least_once")
        arrive(*(f"ICE {n:02}" for n in range(60)))
        relay()
        presence()
        workers = [elsewhere(lambda: work(consumer, 40)) for _ in range(4)]
        assert sum(worker.result(PATIENCE) for worker in workers) == 25
        assert len(ledger()) == 25
        assert circuit().held_by_rate > 0

    def test_says_when_it_is_worth_coming_again(self, station: Any) -> None:
        consumer = station.declare(rate_limit=Rate(10, per="1s", burst=1))
        arrive("ICE 1", "ICE 2")
        relay()
        assert claim_and_deliver(consumer).count == 1
        held = claim_and_deliver(consumer)
        assert held.count == 0
        assert held.wait is not None
        assert 0 < held.wait <= 0.1
        deliver_waiting(ANNOUNCE)
        assert ledger() == ["ICE 1", "ICE 2"]

    def test_takes_no_token_for_what_was_not_there(self, station: Any) -> None:
        consumer = station.declare(rate_limit=Rate(1, per="1h", burst=3))
        assert work(consumer, 9) == 0
        arrive(*(f"ICE {n}" for n in range(5)))
        relay()
        assert work(consumer) == 3


class TestConcurrency:
    def test_counts_the_claims_of_all_workers(self, station: Any) -> None:
        consumer = station.declare(concurrency=2)
        arrive(*(f"ICE {n}" for n in range(9)))
        relay()
        first, second = claim(limit=2), claim(limit=2, worker=new_id())
        assert deliver_once(consumer) == 0
        assert circuit().held_by_concurrency == 1
        store().release(first)
        assert deliver_once(consumer) > 0
        store().release(second)
        run_until_idle()
        assert len(ledger()) == 9
