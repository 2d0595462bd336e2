"""Play one seed: faults while there is something to do, then none, then everything must come to rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from messaging.errors import OperationRefused
from messaging.models import ConsumerState, DeadLetter, Delivery, OutboxEntry, RollupDelta, ScheduledMessage
from messaging.operations import command_line
from messaging.operations.lanes import release_key
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.subscriptions import synchronise
from tests.simulation import actors, oracle, parts, seams, stage
from tests.simulation.broker import Broker
from tests.simulation.connection import Template
from tests.simulation.monitor import Monitor
from tests.simulation.operators import Operator
from tests.simulation.parts.part import Part
from tests.simulation.seeds import Played
from tests.simulation.world import World

MOST_STEPS = 30_000
DRAIN_SECONDS = 240.0
"""Virtual: three retries, two lost leases and a crash loop take a third of it."""
PERSON_EVERY = 500
_HOT = (OutboxEntry, Delivery, RollupDelta, ScheduledMessage)
_IS_QUIET = "SELECT " + " AND ".join(f"NOT EXISTS (SELECT 1 FROM {model._meta.db_table})" for model in _HOT)
LOOK_EVERY = 25
"""Steps from one look at whether all is quiet to the next."""


@cache
def template() -> Template:
    """Migrate this process's database, once."""
    stage.enter(World(0, seams.install, seams.put_away))
    seams.put_in_place()
    call_command("migrate", run_syncdb=True, verbosity=0)
    return Template()


def play(seed: int, *, keeps_trace: bool = False) -> Played:
    """Run one seed from beginning to end."""
    prepared = template()
    world = World(seed, seams.install, seams.put_away)
    stage.enter(world)
    prepared.restore()
    taking_part = parts.draw(seed)
    settings.MESSAGING = world.profile.options()
    for part in taking_part:
        settings.MESSAGING |= part.options
    broker = Broker()
    seams.begin(broker)
    with _entered(taking_part, world):
        violations = _act(world, broker, taking_part)
    counts = oracle.counts()
    world.end()
    return Played(
        seed=seed, steps=world.steps, digest=world.digest(), faults=world.faults, counts=counts,
        violations=tuple(violations), trace=tuple(world.trace) if violations or keeps_trace else (),
    )  # fmt: skip


@contextmanager
def _entered(taking_part: Sequence[Part], world: World) -> Iterator[None]:
    """Deploy the parts of this run, and take them out again: the next one may be without."""
    for part in taking_part:
        part.enter()
    if taking_part:
        world.profile = world.profile.with_parts()
        synchronise()
        synchronise_schedules()
    try:
        yield
    finally:
        for part in taking_part:
            part.leave()


def _act(world: World, broker: Broker, taking_part: Sequence[Part]) -> list[str]:
    monitor = Monitor(world)
    monitor.watch()
    for part in taking_part:
        part.watch(monitor)
    choices = [choice for part in taking_part for choice in part.choices()]
    people = [Operator(number, world.profile.repairs, choices) for number in (1, 2)]
    clients: list[actors.Client] = [
        actors.Producer(100 * n, world.profile.bookings) for n in range(1, world.profile.producers + 1)
    ]
    clients += [client for part in taking_part for client in part.clients()]
    for client in clients:
        world.launch("client", client.start)
    for person in people:
        world.launch("web", person.start)
    for _ in range(world.profile.relays):
        world.launch("relay", actors.relay)
    for _ in range(world.profile.workers):
        world.launch("worker", actors.worker(broker))
    for _ in range(world.profile.schedulers):
        world.launch("scheduler", actors.scheduler([tick for part in taking_part for tick in part.ticks]))
    while world.steps < MOST_STEPS and (
        any(client.waiting for client in clients) or not all(person.has_finished for person in people)
    ):
        world.step()
        _restart_the_dead(world, at_once=False)
    world.faults_are_on = False
    _restart_the_dead(world, at_once=True)
    is_quiet = _drain(world, taking_part)
    monitor.stop()
    world.current = None
    if not is_quiet:
        return [*world.errors, *monitor.violations, *oracle.leftovers(), "I10 it never came to rest"]
    return [*world.errors, *monitor.violations, *oracle.violations(world, taking_part)]


def _restart_the_dead(world: World, *, at_once: bool) -> None:
    """Be the supervisor, who starts anew what has died."""
    for process in [each for each in world.processes if not each.is_alive]:
        if at_once or world.rng.random() < 0.02:
            world.processes.remove(process)
            world.launch(process.role, process.start)


def _drain(world: World, taking_part: Sequence[Part]) -> bool:
    """Let everything come to rest; only a pause without an end needs a person."""
    ConsumerState.objects.filter(paused_until=None).update(paused_at=None, drain_at=None)
    ends = world.now + DRAIN_SECONDS
    while world.now < ends and world.steps < MOST_STEPS:
        for _ in range(LOOK_EVERY):
            world.step()
            _restart_the_dead(world, at_once=True)
        if _is_quiet(taking_part):
            return True
        if world.steps % PERSON_EVERY < LOOK_EVERY:
            _unblock()
    return _is_quiet(taking_part)


def _unblock() -> None:
    """Let keys go on that a dead letter holds: that a person decides is their promise."""
    for consumer, key in set(DeadLetter.objects.filter(blocks=True).values_list("consumer", "key")):
        with suppress(OperationRefused):  # resolved meanwhile
            release_key(name=consumer, key=str(key), actor=command_line("closer"), reason="The end.")


def _is_quiet(taking_part: Sequence[Part]) -> bool:
    if connection.in_atomic_block or not all(part.is_at_rest() for part in taking_part):
        return False
    with connection.cursor() as cursor:
        cursor.execute(_IS_QUIET)
        return bool(cursor.fetchone()[0])
