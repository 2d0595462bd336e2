"""A drain finishes what was there, takes nothing new, and ends as a pause."""

from __future__ import annotations

from typing import Any

import pytest

from messaging import Context, OperationRefused, Retry
from messaging.database import store
from messaging.maintenance import pause_drained
from messaging.models import AuditRecord, ConsumerState, Delivery
from messaging.operations import drain_consumer, pause_consumer, resume_consumer
from messaging.queries.consumers import get_consumer
from messaging.testing import run_until_idle
from tests.factories import ANA, ANNOUNCE, BEN, EVE, TrainArrived, arrive, ledger, relay, write

pytestmark = pytest.mark.django_db(transaction=True)


class TestDrain:
    def test_finishes_what_was_there_and_takes_nothing_new(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2")
        relay()
        drain_consumer(name=ANNOUNCE, actor=ANA, reason="new release")
        arrive("ICE 3")
        relay()
        assert ANNOUNCE in store().claimable()
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2"]
        assert ANNOUNCE not in store().claimable()
        resume_consumer(name=ANNOUNCE, actor=BEN)
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2", "ICE 3"]

    def test_counts_what_the_relay_had_not_looked_at_yet(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        drain_consumer(name=ANNOUNCE, actor=ANA, reason="new release")
        assert pause_drained() == 0
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert pause_drained() == 1

    def test_waits_for_delayed_retries_and_then_pauses_by_itself(self, station: Any) -> None:
        failures = iter([True])

        def handler(event: TrainArrived, context: Context) -> None:
            if next(failures, False):
                raise LookupError("no platform")
            write(event.train)

        station.declare(handler, retry=Retry(immediate=0, delays=("1h",)))
        arrive("ICE 1")
        run_until_idle()
        drain_consumer(name=ANNOUNCE, actor=ANA, reason="new release")
        assert pause_drained() == 0
        Delivery.objects.update(available_at=store().now())
        run_until_idle()
        assert (ledger(), pause_drained(), pause_drained()) == (["ICE 1"], 1, 0)
        state = ConsumerState.objects.get(name=ANNOUNCE)
        assert (state.paused_by, state.pause_reason, state.drain_at) == ("ana", "new release", None)
        assert AuditRecord.objects.get(action="consumer.pause").reason == "It is drained."
        row = get_consumer(ANNOUNCE)
        assert row is not None
        assert row.status == "paused"

    def test_is_ended_by_a_resume_that_comes_first(self, station: Any) -> None:
        station.declare()
        drain_consumer(name=ANNOUNCE, actor=ANA, reason="new release")
        row = get_consumer(ANNOUNCE)
        assert row is not None
        assert row.status == "draining"
        resume_consumer(name=ANNOUNCE, actor=BEN)
        assert pause_drained() == 0
        assert ConsumerState.objects.get(name=ANNOUNCE).paused_at is None

    def test_is_refused_twice_while_paused_and_to_who_may_only_look(self, station: Any) -> None:
        station.declare()
        with pytest.raises(OperationRefused, match="may not"):
            drain_consumer(name=ANNOUNCE, actor=EVE, reason="new release")
        drain_consumer(name=ANNOUNCE, actor=ANA, reason="new release")
        with pytest.raises(OperationRefused, match="already draining by ana"):
            drain_consumer(name=ANNOUNCE, actor=BEN, reason="new release")
        pause_consumer(name=ANNOUNCE, actor=BEN, reason="at once, then")
        with pytest.raises(OperationRefused, match="already paused by ben"):
            drain_consumer(name=ANNOUNCE, actor=ANA, reason="new release")
