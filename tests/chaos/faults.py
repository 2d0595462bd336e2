"""The faults: what each does to the running system. Each returns in words what it hit."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg

from tests.chaos import clocks
from tests.chaos.own_servers import NotOurs
from tests.chaos.proxy import Cut
from tests.chaos.system import DATABASE, STALE_AFTER_SECONDS, WITH_A_CLOCK_OF_ITS_OWN, System

Dice = random.Random
WORKERS, RELAYS = ("worker 1", "worker 2"), ("relay 1", "relay 2")
PAST_THE_LEASE = 1.6 * STALE_AFTER_SECONDS
DISK_IS_FULL_FOR = 4.0
"""Seconds."""


class Missed(Exception):
    """There was nothing to hit just then; the fault does not count."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``weight``: how often it is in a deck of faults; ``lacks`` says why it cannot be had here, if so."""

    name: str
    weight: int
    does: str
    act: Callable[[System, Dice], str]
    lacks: Callable[[System], str] = lambda _: ""


def _kill(names: tuple[str, ...]) -> Callable[[System, Dice], str]:
    def act(system: System, dice: Dice) -> str:
        name = dice.choice(names)
        if name not in system.roles or not system.roles[name].is_running:
            raise Missed
        system.roles[name].kill()
        return name

    return act


def _kill_child(system: System, dice: Dice) -> str:
    name = dice.choice(WORKERS)
    child = system.roles[name].child(dice)
    if child is None:
        raise Missed
    with suppress(psutil.NoSuchProcess):
        child.kill()
    return f"a child of {name}"


def _freeze(names: tuple[str, ...]) -> Callable[[System, Dice], str]:
    def act(system: System, dice: Dice) -> str:
        role = system.roles[dice.choice(names)]
        if not role.is_running:
            raise Missed
        role.freeze()
        system.later(PAST_THE_LEASE, role.thaw)
        return role.name

    return act


def _freeze_child(system: System, dice: Dice) -> str:
    name = dice.choice(WORKERS)
    child = system.roles[name].child(dice)
    if child is None:
        raise Missed
    child.suspend()
    system.later(PAST_THE_LEASE, lambda: _resume(child))
    return f"a child of {name}"


def _resume(child: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # checks that the id still is the same process
        child.resume()


def _terminate_sessions(system: System, dice: Dice) -> str:
    try:
        with psycopg.connect(system.postgresql.url(), autocommit=True, connect_timeout=2) as session:
            system.postgresql.check_is_ours()
            found = session.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (DATABASE,)).fetchall()
            victims = dice.sample(sorted(found), min(len(found), dice.randint(1, 4)))
            for (pid,) in victims:
                session.execute("SELECT pg_terminate_backend(%s)", (pid,))
    except (psycopg.OperationalError, NotOurs, OSError) as error:
        raise Missed from error
    return f"{len(victims)} of {len(found)} sessions"


def _crash_postgresql(system: System, dice: Dice) -> str:
    if not system.postgresql.is_running or not system.postgresql.is_ready():
        raise Missed
    system.postgresql.crash()
    return "crashed; the supervisor starts it again"


def _cut_commits(system: System, dice: Dice) -> str:
    cuts: list[Cut] = [dice.choice(("after", "after", "before")) for _ in range(dice.randint(1, 4))]
    system.proxy.arm(cuts)
    return ", ".join(cuts)


def _cut_answers(system: System, dice: Dice) -> str:
    cuts: list[Cut] = ["answer"] * dice.randint(1, 6)
    system.proxy.arm(cuts)
    return f"{len(cuts)} answers"


def _flush_redis(system: System, dice: Dice) -> str:
    with system.redis.ours() as client:
        client.flushall()
    return "every key"


def _restart_redis(system: System, dice: Dice) -> str:
    if not system.redis.is_ready():
        raise Missed
    system.redis.kill()
    return "killed; it keeps nothing on disk"


def _kill_redis_clients(system: System, dice: Dice) -> str:
    with system.redis.ours() as client:
        ended = client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)
    return f"{ended} clients"


def _restart_rabbitmq(system: System, dice: Dice) -> str:
    system.servers["rabbitmq"].kill()
    return "killed"


def _fill_disk(system: System, dice: Dice) -> str:
    if not system.resize_disk(to_what_is_used=True):
        raise Missed
    system.later(DISK_IS_FULL_FOR, system.resize_disk)
    return f"{DISK_IS_FULL_FOR:.0f} s without a byte free"


def _move_clock(system: System, dice: Dice) -> str:
    name = dice.choice(WITH_A_CLOCK_OF_ITS_OWN)
    seconds = dice.choice((-86_400, -3_600, -30, 30, 3_600, 86_400))
    clocks.move(system.clock_file(name), seconds)
    system.later(dice.uniform(5, 25), lambda: clocks.move(system.clock_file(name), 0))
    return f"{name} by {seconds:+,} s"


def _broker_is(name: str) -> Callable[[System], str]:
    return lambda system: "" if (name == "rabbitmq") == ("rabbitmq" in system.servers) else f"the broker is not {name}"


FAULTS = (
    Fault(name="kill worker", weight=2, does="SIGKILL to a worker and its children", act=_kill(WORKERS)),
    Fault(name="kill child", weight=3, does="SIGKILL to one of a worker's children", act=_kill_child),
    Fault(name="kill relay", weight=2, does="SIGKILL to a relay", act=_kill(RELAYS)),
    Fault(name="kill scheduler", weight=1, does="SIGKILL to the scheduler", act=_kill(("scheduler",))),
    Fault(
        name="kill client", weight=1, does="SIGKILL to the publisher or the operator",
        act=_kill(("publisher", "operator")),
    ),
    Fault(name="freeze worker", weight=1, does="SIGSTOP past the lease, then SIGCONT", act=_freeze(WORKERS)),
    Fault(name="freeze child", weight=2, does="the same to one of a worker's children", act=_freeze_child),
    Fault(
        name="freeze relay", weight=1, does="the same to a relay or the scheduler", act=_freeze((*RELAYS, "scheduler")),
    ),
    Fault(
        name="end sessions", weight=4, does="pg_terminate_backend of 1 to 4 sessions chosen at random",
        act=_terminate_sessions,
    ),
    Fault(
        name="crash PostgreSQL", weight=2, does="immediate shutdown, then a start that recovers", act=_crash_postgresql,
    ),
    Fault(
        name="cut at COMMIT", weight=5, act=_cut_commits,
        does="1 to 4 connections cut when COMMIT was sent, before its answer came (two of three were carried out)",
    ),
    Fault(
        name="cut at an answer", weight=3, act=_cut_answers,
        does="1 to 6 connections cut at whatever statement comes next, when it was carried out",
    ),
    Fault(name="flush Redis", weight=2, does="FLUSHALL", act=_flush_redis, lacks=_broker_is("redis")),
    Fault(
        name="restart Redis", weight=1, does="SIGKILL, then an empty server", act=_restart_redis,
        lacks=_broker_is("redis"),
    ),
    Fault(name="end Redis clients", weight=2, does="CLIENT KILL of all", act=_kill_redis_clients),
    Fault(
        name="restart RabbitMQ", weight=2, does="SIGKILL, then a start", act=_restart_rabbitmq,
        lacks=_broker_is("rabbitmq"),
    ),
    Fault(
        name="full disk", weight=1, does=f"no space left on PostgreSQL's file system for {DISK_IS_FULL_FOR:.0f} s",
        act=_fill_disk, lacks=lambda system: "" if system.is_disk_small else "mounting a small tmpfs needs root",
    ),
    Fault(
        name="move clock", weight=2, does="the wall clock of a relay or worker wrong by 30 s to a day, either way",
        act=_move_clock, lacks=lambda _: "" if clocks.library() else "libfaketime is not installed",
    ),
)  # fmt: skip


def schedule(seed: int, seconds: float, faults: list[Fault], *, shortest: float, longest: float) -> list[
    tuple[float, Fault, int]
]:  # fmt: skip
    """Return when to do what, with a seed for each fault's own choices: each once, then by their weights."""
    dice = random.Random(seed)
    plan: list[tuple[float, Fault, int]] = []
    deck = list(faults)
    dice.shuffle(deck)
    at = dice.uniform(shortest, longest)
    while at < seconds:
        if not deck:
            deck = [fault for fault in faults for _ in range(fault.weight)]
            dice.shuffle(deck)
        plan.append((at, deck.pop(), dice.randrange(2**32)))
        at += dice.uniform(shortest, longest)
    return plan
