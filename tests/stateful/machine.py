"""A plain model of the bus, and the bus beside it: whatever Hypothesis does to both, they must agree."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import Group
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from messaging import Context, PermanentError, Retry, cancel_scheduled, publish
from messaging.ingest import ingest
from messaging.models import Attempt, DeadLetter, Delivery, Message, OutboxEntry, Worker
from messaging.operations import (
    discard_dead_letters,
    pause_consumer,
    replay_dead_letters,
    resubmit_dead_letter,
    resume_consumer,
)
from messaging.rescue import rescue
from messaging.testing import harness
from messaging.verification import verify
from tests.factories import ANA, ANNOUNCE, Station, TrainArrived, claim, relay, write

POLICY = Retry(immediate=1, delays=("10s",))
LONGEST_DELAY = 30
PLAYED: Counter[str] = Counter()
"""How many examples this process played, and after how many steps it compared."""
PLANS = st.sampled_from(["fine", "fine", "shaky", "broken"])


class _RolledBack(Exception):
    pass


class Bus(RuleBasedStateMachine):
    """One consumer, exactly once. The model says, for each message, what must have become of it."""

    waiting = Bundle("waiting")
    """Messages published for later."""

    @initialize()
    def open(self) -> None:
        PLAYED["examples"] += 1
        self.fails: Counter[str] = Counter()
        self.plans: dict[UUID, str] = {}
        """What the handler does with each message of the model."""
        self.names: dict[UUID, str] = {}
        self.runs: Counter[UUID] = Counter()
        """How often each message was sent to the consumer: once, and once for each replay."""
        self.given_up: set[UUID] = set()
        """Discarded, cancelled, or replaced by an edited copy."""
        self.is_paused = False
        self.stack = ExitStack()
        self.station = Station()
        self.stack.callback(self.station.close)
        self.station.declare(self._handle, retry=POLICY)
        self.bus = self.stack.enter_context(harness(consumers=[ANNOUNCE]))

    def _handle(self, event: TrainArrived, context: Context) -> None:
        write(event.train)
        plan = event.train.split()[0]
        if plan == "broken":
            raise PermanentError("no such track")
        if plan == "shaky":
            self.fails[event.train] += 1
            if self.fails[event.train] <= POLICY.immediate + len(POLICY.delays):
                raise ValueError("not yet")

    def _expect(self, message_id: UUID, name: str) -> None:
        self.names[message_id], self.plans[message_id] = name, name.split(maxsplit=1)[0]
        self.runs[message_id] += 1

    # ── What may happen ──

    @rule(plan=PLANS)
    def publish(self, plan: str) -> None:
        name = f"{plan} {uuid4()}"
        with transaction.atomic():
            message_id = publish(TrainArrived(train=name))
        self._expect(message_id, name)

    @rule(plan=PLANS)
    def roll_back(self, plan: str) -> None:
        try:
            with transaction.atomic():
                seen = publish(TrainArrived(train=f"{plan} rolled back"))
                raise _RolledBack
        except _RolledBack:
            pass
        assert not Message.objects.filter(id=seen).exists()

    @rule(plan=PLANS, times=st.integers(1, 3))
    def receive_from_outside(self, plan: str, times: int) -> None:
        name = f"{plan} {uuid4()}"
        message = {"type": "tests.TrainArrived", "version": 1, "id": name, "data": {"train": name}}
        raw = json.dumps(message).encode()
        answers = [ingest(raw, content_type="application/json", source="yard") for _ in range(times)]
        assert [answer.outcome for answer in answers] == ["accepted"] + ["duplicate"] * (times - 1)
        assert len({answer.message_id for answer in answers}) == 1
        assert answers[0].message_id is not None
        self._expect(answers[0].message_id, name)

    @rule(target=waiting, plan=PLANS, delay=st.integers(1, LONGEST_DELAY))
    def schedule(self, plan: str, delay: int) -> UUID:
        name = f"{plan} {uuid4()}"
        with transaction.atomic():
            message_id = publish(TrainArrived(train=name), delay=delay)
        self._expect(message_id, name)
        return message_id

    @rule(message_id=consumes(waiting))
    def cancel(self, message_id: UUID) -> None:
        with transaction.atomic():
            if cancel_scheduled(message_id):
                self.given_up.add(message_id)

    @rule()
    def deliver(self) -> None:
        self.bus.run()

    @rule(seconds=st.integers(1, 20))
    def let_time_pass(self, seconds: int) -> None:
        self.bus.advance(seconds)

    @rule(claimed=st.integers(1, 5))
    def die_with_a_claim(self, claimed: int) -> None:
        relay()
        worker = uuid4()
        claim(limit=claimed, worker=worker)
        assert not Worker.objects.filter(id=worker).exists()
        rescue()
        assert not Delivery.objects.filter(claim_token__isnull=False).exists()

    @precondition(lambda self: not self.is_paused)
    @rule()
    def pause(self) -> None:
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="a repair")
        self.is_paused = True

    @precondition(lambda self: self.is_paused)
    @rule()
    def resume(self) -> None:
        resume_consumer(name=ANNOUNCE, actor=ANA)
        self.is_paused = False

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        if letter := self._a_dead_letter(data):
            asked: Any = {"ids": [letter.id], "actor": ANA, "reason": "again", "request_id": str(uuid4())}
            first, again = replay_dead_letters(**asked), replay_dead_letters(**asked)  # a double click
            assert first == again
            self.runs[letter.message_id] += 1

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        if letter := self._a_dead_letter(data):
            discard_dead_letters(ids=[letter.id], actor=ANA, reason="no use")
            self.given_up.add(letter.message_id)

    @rule(data=st.data())
    def resubmit(self, data: st.DataObject) -> None:
        if letter := self._a_dead_letter(data):
            name = f"fine {uuid4()}"
            body = json.dumps({"train": name})
            result = resubmit_dead_letter(id=letter.id, body=body, actor=ANA, reason="a typo")
            self._expect(result.message_id, name)
            self.given_up.add(letter.message_id)

    def _a_dead_letter(self, data: st.DataObject) -> DeadLetter | None:
        letters = list(DeadLetter.objects.filter(state="open", message_id__in=self.plans).order_by("id"))
        return data.draw(st.sampled_from(letters)) if letters else None

    # ── What must hold ──

    @invariant()
    def is_counted(self) -> None:
        PLAYED["comparisons"] += 1

    @invariant()
    def nothing_is_lost_or_done_twice(self) -> None:
        report = verify()
        assert report.is_sound, report
        done = Counter(name.rpartition("/")[0] for name in Group.objects.values_list("name", flat=True))
        handled = Counter(Attempt.objects.filter(outcome="handled").values_list("message_id", flat=True))
        for message_id, name in self.names.items():
            assert done[name] == handled[message_id] <= self.runs[message_id]
            assert self.plans[message_id] != "broken" or not handled[message_id]

    @invariant()
    def nothing_runs_while_paused(self) -> None:
        if self.is_paused:
            claim_token = Delivery.objects.filter(claim_token__isnull=False)
            assert not claim_token.exists()

    def teardown(self) -> None:
        if not hasattr(self, "bus"):
            return
        try:
            if self.is_paused:
                self.resume()
            self.bus.finish()
            self._everything_ended()
        finally:
            self.stack.close()

    def _everything_ended(self) -> None:
        assert not Delivery.objects.exists()
        assert not OutboxEntry.objects.exists()
        self.nothing_is_lost_or_done_twice()
        report = verify(with_counters=True)
        assert report.is_sound, report
        handled = Counter(Attempt.objects.filter(outcome="handled").values_list("message_id", flat=True))
        dead = Counter(DeadLetter.objects.filter(state="open").values_list("message_id", flat=True))
        for message_id, plan in self.plans.items():
            if message_id in self.given_up:
                assert (handled[message_id], dead[message_id]) == (0, 0)
            else:
                expected = (0, 1) if plan == "broken" else (1, 0)
                assert (handled[message_id], dead[message_id]) == expected, self.names[message_id]
