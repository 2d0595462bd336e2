"""All five flows over HTTP while processes are killed with -9 at random and the broker forgets everything.

SIGNALBOX_KILL_ORDERS=10000 makes it the long run, in which the processes live a little longer, so that work gets done
between two deaths. SIGNALBOX_KILL_SEED repeats the choice of victims.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
import redis

from tests import servers
from tests.acceptance.flows import Flows
from tests.processes import Deployment, Program, TookTooLong, eventually

log = logging.getLogger(__name__)
ORDERS = int(os.environ.get("SIGNALBOX_KILL_ORDERS", "600"))
RATE = int(os.environ.get("SIGNALBOX_KILL_RATE", "40"))
SEED = int(os.environ.get("SIGNALBOX_KILL_SEED", "0")) or random.randrange(1, 1_000_000)
LONGEST_LIFE = 4.0 if ORDERS < 5000 else 9.0
DRAIN_SECONDS = 180.0 + ORDERS / 5
ROLES = {"relay": ["relay"], "worker 1": ["worker", "--concurrency", "2"], "worker 2": ["worker", "--concurrency", "2"]}

TIMED = {"appointments.Booking", "orders.OrderFulfilment"}
"""Timeouts wait for them: days ahead, until an appointment begins, or for an order that waits for a person."""
UNSETTLED = {"requested", "scheduled", "cancelling"}

EFFECTS = """
import json
from django.db.models import Count
from examples.ecommerce.billing.models import Charge
from examples.ecommerce.inventory.models import Reservation
from examples.ecommerce.notification.models import Notification
from examples.ecommerce.orders.models import Order
from messaging.models import DeadLetter
def by_order(model):
    return {str(order): n for order, n in model.objects.values_list("order_id").annotate(n=Count("*"))}
dead = set(DeadLetter.objects.filter(state="open").values_list("key", flat=True))
reserved, charged, told = by_order(Reservation), by_order(Charge), by_order(Notification)
print("EFFECTS", json.dumps([
    [state, reserved.get(str(id), 0), charged.get(str(id), 0), told.get(str(id), 0), str(id) in dead]
    for id, state in Order.objects.filter(form="choreographed").values_list("id", "state")
]))
"""


class OwnRedis:
    """A Redis server that belongs to one test, so that it may forget everything."""

    def __init__(self, name: str) -> None:
        directory = servers.private_directory(name)
        self.url = f"unix://{directory}/redis.sock"
        options = ["--port", "0", "--unixsocket", f"{directory}/redis.sock", "--save", "", "--appendonly", "no"]
        self._process = servers.Process([servers.redis_binary(), *options], directory=directory)
        self._process.wait_until(lambda: servers.redis_process(self.url) == self._process.pid)

    def forget_everything(self) -> None:
        assert servers.redis_process(self.url) == self._process.pid  # nobody else's data
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def stop(self) -> None:
        self._process.stop()


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    server = OwnRedis(f"redis-kills-{random.randrange(10**6)}")
    yield server
    server.stop()


class Killer:
    """Kills one of the running programs at a time, and starts it again."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._dice = random.Random(SEED)
        self._running = {name: deployment.start(*command, SIGNALBOX_ROLE=name) for name, command in ROLES.items()}
        self.kills: Counter[str] = Counter()

    def strike(self) -> None:
        """Kill a whole process group, or a single child of a worker."""
        name = self._dice.choice(list(ROLES))
        program = self._running[name]
        if "worker" in name and self._dice.random() < 0.8:  # some die while they start, most at work
            program.wait_for(" ready.")
            self.pause(0.2, 2.0)
        children = psutil.Process(program.pid).children() if program.is_running else []
        if children and self._dice.random() < 0.3:
            self._dice.choice(children).kill()
            self.kills[f"one child of {name}"] += 1
            return
        program.kill()
        self.kills[name] += 1
        self._deployment.programs.remove(program)
        self._running[name] = self._deployment.start(*ROLES[name], SIGNALBOX_ROLE=name)

    def pause(self, shortest: float, longest: float) -> None:
        time.sleep(self._dice.uniform(shortest, longest))


class TestKilledRolesOnPostgreSQLAndRedis:
    def test_lose_nothing_and_do_nothing_twice(self, production: Deployment, own_redis: OwnRedis) -> None:
        production.env["REDIS_URL"] = own_redis.url
        production.start("web", SIGNALBOX_ROLE="web").wait_for("Serving")
        production.run("shell", "-c", "from examples.payments.sample import pay_salaries; pay_salaries()")
        killer = Killer(production)
        flows = Flows(f"http://127.0.0.1:{production.env['PORT']}", seconds=ORDERS / RATE, seed=SEED)
        flows.start()
        load = start_load(production, orchestrated=0.3)
        half_time, is_flushed = time.monotonic() + ORDERS / RATE / 2, False
        while load.is_running:
            killer.pause(0.5, LONGEST_LIFE)
            killer.strike()
            if not is_flushed and time.monotonic() > half_time:
                own_redis.forget_everything()
                is_flushed = True
        for _ in range(3):
            killer.pause(0.2, 2.0)
            killer.strike()
        flows.wait()
        check(production, load, killer.kills)
        assert is_flushed
        eventually(lambda: not flows.states()["appointments"].keys() & UNSETTLED, what="the end of the bookings")
        states = flows.states()
        flows.close()
        log.info("the other flows: %s", {flow: dict(counts) for flow, counts in states.items()})
        assert states["payments"].keys() <= {"confirmed", "rejected"}
        assert production.report()["is_sound"]
        assert states["runs"].keys() <= {"published", "rejected"}


class TestKilledProcessOnSQLite:
    def test_loses_nothing_and_does_nothing_twice(self, embedded: Deployment, up: Callable[[], Program]) -> None:
        embedded.env |= {"SIGNALBOX_STALE_AFTER_SECONDS": "2", "SIGNALBOX_HEARTBEAT_SECONDS": "0.5"}
        program = up()
        load = start_load(embedded)
        dice, kills = random.Random(SEED), Counter[str]()
        while load.is_running:
            time.sleep(dice.uniform(1.0, 5.0))
            program.kill()
            kills["everything"] += 1
            embedded.programs.remove(program)
            program = up()
        check(embedded, load, kills)


def start_load(deployment: Deployment, *, orchestrated: float = 0) -> Program:
    address = f"http://127.0.0.1:{deployment.env['PORT']}"
    eventually(lambda: answers(address), what="an answer of the web process")
    options = {"orders": ORDERS, "rate": RATE, "clients": 4, "failures": 0.1, "seed": SEED, "patience": 120}
    options["orchestrated"] = orchestrated
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return deployment.start("loadgen", "--via", address, "--json", *arguments)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def check(deployment: Deployment, load: Program, kills: Counter[str]) -> None:
    """Drain without a person's help, let every flow's invariants be verified, then count every order's effects."""
    assert load.wait() == 0, load.output
    posted = json.loads(load.output[load.output.index("{") :])
    log.info("seed %d: all posted, kills %s", SEED, dict(kills))
    started = time.monotonic()
    report = drain(deployment)
    drained = time.monotonic() - started
    assert report["is_sound"], json.dumps(report, indent=1)
    orders = effects(deployment)
    shapes = Counter(map(tuple, orders))
    log.info("seed %d: %d orders, kills %s, drained in %.0f s", SEED, len(orders), dict(kills), drained)
    log.info("loadgen: %s", posted)
    log.info("state, reservations, charges, notifications, open dead letter: %s", dict(shapes))
    log.info("report: %s", json.dumps(report))
    assert posted["accepted"] + posted["existing"] == ORDERS
    assert kills.total() > 0
    for state, reserved, charged, told, is_dead in shapes:
        if state == "confirmed":
            assert (reserved, charged, told or is_dead) == (1, 1, 1), shapes
        elif state == "cancelled":
            assert (told or is_dead, reserved == charged) == (1, True), shapes
        else:
            assert is_dead, shapes
        assert max(reserved, charged, told) <= 1


def drain(deployment: Deployment) -> dict[str, Any]:
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        is_late = time.monotonic() > deadline
        if is_late or not deployment.is_anything_waiting():
            report = deployment.report()
            if not any(each["waiting"] for each in report["consumers"] if each["consumer"] not in TIMED):
                return report
            if is_late:
                tails = [f"{program.arguments}:\n{program.output[-1500:]}" for program in deployment.programs]
                raise TookTooLong("\n".join(["The backlog did not drain.", json.dumps(report), *tails]))
        time.sleep(0.5)


def effects(deployment: Deployment) -> list[list[Any]]:
    line = deployment.run("shell", "-c", EFFECTS).wait_for("EFFECTS ")
    rows: list[list[Any]] = json.loads(line.removeprefix("EFFECTS "))
    return rows
