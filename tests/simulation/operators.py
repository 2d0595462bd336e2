"""Operators: people who repair, pause and resume in between, each request perhaps sent twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from django.db.utils import DatabaseError, InterfaceError

from messaging.errors import OperationRefused, StorageUnavailable
from messaging.models import DeadLetter, Delivery, Message
from messaging.operations import (
    DeliveryId,
    command_line,
    discard_dead_letters,
    hasten_deliveries,
    pause_consumer,
    replay_dead_letters,
    resubmit_dead_letter,
    resume_consumer,
)
from messaging.operations.lanes import release_key
from tests.simulation.cast.consumers import BOOKING_CONSUMERS, LANE
from tests.simulation.parts.part import Act, Choice
from tests.simulation.stage import world
from tests.simulation.world import Process


class Operator:
    """One person, who goes on after the process that served them has died."""

    def __init__(self, number: int, actions: int, choices: Sequence[Choice]) -> None:
        self.actor = command_line(f"operator{number}")
        self.left = actions
        self.asked = 0
        self.has_finished = False
        self._repeat: Act | None = None
        self._choices: list[Callable[[], Act | None]] = [
            self._replay, self._resubmit, self._discard, self._pause, self._resume, self._hasten, self._release,
            *(partial(choice, self.actor, self._id) for choice in choices),
        ]  # fmt: skip

    def start(self, process: Process) -> None:
        world().spawn(process, self.actor.name, self._act)

    def _act(self) -> None:
        while self.left or self._repeat:
            world().sleep(world().rng.random() * 6)
            act, self._repeat = self._repeat or self._choose(), None
            self.left -= 1 if self.left else 0
            if act is None:
                continue
            if world().rng.random() < 0.3:
                self._repeat = act  # a double click, or a request whose answer was lost
            try:
                act()
            except OperationRefused as refused:
                world().note(f"refused: {refused.code}")
            except (DatabaseError, InterfaceError, StorageUnavailable):
                self._repeat = act
        self.has_finished = True

    def _choose(self) -> Act | None:
        choose = world().rng.choice(self._choices)
        try:
            return choose()
        except (DatabaseError, InterfaceError, StorageUnavailable):
            return None

    def _id(self) -> str:
        self.asked += 1
        return f"{self.actor.name}-{self.asked}"

    def _dead(self, state: str = DeadLetter.State.OPEN) -> list[DeadLetter]:
        # Sometimes what was open when the page was rendered is not open any more: any state will do then.
        rows = list(DeadLetter.objects.order_by("id"))
        wanted = [row for row in rows if row.state == state or world().rng.random() < 0.2]
        return wanted[: world().rng.randint(1, 3)]

    def _replay(self) -> Act | None:
        ids = [row.id for row in self._dead()]
        request = self._id()
        world().note(f"replays {len(ids)}")
        return partial(replay_dead_letters, ids=ids, actor=self.actor, reason="Mended.", request_id=request)

    def _discard(self) -> Act | None:
        ids = [row.id for row in self._dead()][:1]
        request = self._id()
        world().note(f"discards {len(ids)}")
        return partial(discard_dead_letters, ids=ids, actor=self.actor, reason="Nothing to save.", request_id=request)

    def _resubmit(self) -> Act | None:
        rows = self._dead()
        if not rows:
            return None
        body = json.loads(Message.objects.get(id=rows[0].message_id).content())
        if world().rng.random() < 0.6 and "plans" in body:
            body["plans"] = {}
        world().note("resubmits")
        return partial(
            resubmit_dead_letter, id=rows[0].id, body=json.dumps(body), actor=self.actor, reason="Edited.",
            audience=world().rng.choice(["failed", "failed", "all"]), request_id=self._id(),
        )  # fmt: skip

    def _hasten(self) -> Act | None:
        waiting = Delivery.objects.filter(claim_token=None).order_by("message_id", "consumer")[:3]
        ids = [DeliveryId(message_id=each.message_id, consumer=each.consumer, run=each.run) for each in waiting]
        return partial(hasten_deliveries, ids=ids, actor=self.actor, request_id=self._id()) if ids else None

    def _release(self) -> Act | None:
        key = world().rng.choice(["key-1", "key-2"])
        world().note(f"releases {key}")
        return partial(release_key, name=LANE, key=key, actor=self.actor, reason="It may wait.", request_id=self._id())

    def _pause(self) -> Act | None:
        until = world().clock() + timedelta(seconds=world().rng.uniform(1, 20)) if world().rng.random() < 0.5 else None
        return partial(
            pause_consumer, name=world().rng.choice(BOOKING_CONSUMERS), actor=self.actor, reason="Wait.", until=until,
            request_id=self._id(),
        )  # fmt: skip

    def _resume(self) -> Act | None:
        return partial(
            resume_consumer, name=world().rng.choice(BOOKING_CONSUMERS), actor=self.actor, request_id=self._id()
        )
