"""I6 while it happens: a claim is taken over only from a process that is silent, and never written under after."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection

from messaging import rescue
from messaging.database import store
from messaging.delivery import settling
from messaging.models import Delivery, Worker
from messaging.settings import options
from tests.simulation.world import Process, World

_OWNERS = "SELECT DISTINCT worker FROM messaging_delivery WHERE claim_token = %s"


class Monitor:
    """Knows who claimed what, and watches settling and rescue."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self._undo: list[tuple[Any, str, Any]] = []

    def watch(self) -> None:
        target: Any = getattr(store(), "_target")  # noqa: B009  the store inside its failpoints
        self.wrap(target, "settle", self._before_settling)
        self.wrap(settling, "give_up", self._before_giving_up)
        self.wrap(rescue, "_rescue_one", self._before_rescue)

    def stop(self) -> None:
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)

    def wrap(self, owner: Any, name: str, before: Any, after: Any = None) -> None:
        """Let ``before`` see each call of a function of the bus, and ``after`` its result too."""
        original = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            if not self.world.is_over and self.world.current is not None:
                before(*arguments, **named)
            result = original(*arguments, **named)
            if after is not None and not self.world.is_over:
                after(result, *arguments, **named)
            return result

        self._undo.append((owner, name, original))
        setattr(owner, name, watched)

    def _before_settling(self, *, token: UUID, **_: Any) -> None:
        with connection.cursor() as cursor:  # seen before each settling, so it is worth a statement of its own
            cursor.execute(_OWNERS, [token.hex])
            owners = {UUID(worker) for (worker,) in cursor.fetchall()}
        if others := owners - self._mine():
            self.say(f"I6 {self._who()} settles under a claim of {self._name(others)}")

    def _before_giving_up(self, row: Any, *_: Any, **__: Any) -> None:
        held = Delivery.objects.filter(message_id=row.message_id, consumer=row.consumer, run=row.run)
        owner = set(held.values_list("worker", flat=True))
        process = self._process()
        if process.role == "worker" and (others := owner - self._mine()):
            self.say(f"I6 {self._who()} gives up a delivery claimed by {self._name(others)}")

    def _before_rescue(self, row: Delivery, **_: Any) -> None:
        owner = self._owner(row.worker)
        if owner is None or not owner.is_alive or row.worker is None:
            return
        heard_at = Worker.objects.filter(id=row.worker).values_list("heartbeat_at", flat=True).first()
        if heard_at is None:
            return
        silent = (self.world.clock() - heard_at).total_seconds()
        if silent < options().stale_after_seconds - 0.1:
            self.say(f"I6 {self._who()} takes a claim from {owner}, which was heard {silent:.1f} s ago")

    def _process(self) -> Process:
        assert self.world.current is not None
        return self.world.current.process

    def _who(self) -> str:
        return self._process().name

    def _mine(self) -> set[UUID]:
        return {each.id for each in self._process().globals["mine"].values()}

    def _owner(self, worker: UUID | None) -> Process | None:
        for process in self.world.processes:
            if any(each.id == worker for each in process.globals.get("mine", {}).values()):
                return process
        return None

    def _name(self, workers: set[UUID | None]) -> str:
        return ", ".join(sorted(str(self._owner(worker)) for worker in workers))

    def say(self, violation: str) -> None:
        self.violations.append(violation)
        self.world.note(violation)
