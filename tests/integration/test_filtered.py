"""Subscription filters in the relay: what is not wanted makes no delivery, is written down, and is counted."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from messaging import PermanentError, Retry, publish
from messaging.chain.verifying import verify_chain
from messaging.database import store
from messaging.models import Attempt, Delivery, OutboxEntry, RollupDelta, Subscription
from messaging.operations import replay_dead_letters
from messaging.queries.messages import get_message
from messaging.relay import Relay
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import ANA, ANNOUNCE, CLEAN, DoorsOpened, arrive, dead, ledger, outcomes, relay

pytestmark = pytest.mark.django_db(transaction=True)
ICE_ONLY = {"train": [{"prefix": "ICE"}]}


class TestFilteredSubscription:
    def test_gets_what_it_wants_and_no_more(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        [ice, local] = arrive("ICE 1", "RB 1")
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert outcomes(ice) == ["handled"]
        assert outcomes(local) == ["filtered"]

    def test_takes_nothing_from_the_others(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        station.declare(name=CLEAN)
        arrive("ICE 1", "RB 1")
        relay()
        assert Delivery.objects.filter(consumer=ANNOUNCE).count() == 1
        assert Delivery.objects.filter(consumer=CLEAN).count() == 2

    def test_is_woken_for_what_it_wants_only(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        woken: list[str] = []
        monkeypatch.setattr("messaging.relay.wake", lambda work, known: woken.extend(sorted(work)))
        station.declare(filter=ICE_ONLY)
        station.declare(name=CLEAN)
        relaying = Relay()
        arrive("RB 1", "RB 2")
        relaying.step()
        assert woken == [CLEAN]
        relaying._look_at = 0
        relaying.step()
        assert woken == [CLEAN, CLEAN]
        arrive("RB 3", "ICE 1")
        relaying.step()
        assert woken == [CLEAN, CLEAN, ANNOUNCE, CLEAN]

    def test_asks_headers_and_envelope(self, station: Any) -> None:
        station.declare(filter={"headers.region": ["eu"], "envelope.tenant": ["acme"]})
        arrive("ICE 1", headers={"region": "eu"}, tenant="acme")
        arrive("ICE 2", headers={"region": "eu"})
        arrive("ICE 3", tenant="acme")
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_is_counted_by_consumer(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        arrive("RB 1", "RB 2", "ICE 1")
        relay()
        assert list(RollupDelta.objects.filter(outcome="filtered").values_list("consumer", "count")) == [(ANNOUNCE, 2)]

    def test_adds_up_in_the_recount_whatever_the_filter_says_later(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        arrive("RB 1", "RB 2", "ICE 1")
        run_until_idle()
        station.declare(filter={"train": [{"prefix": "RB"}]})
        synchronise(is_deploy=True)
        report = verify()
        [counted] = [each.outcomes for each in report.consumers if each.consumer == ANNOUNCE]
        assert (counted.expected, counted.handled, counted.filtered, counted.lost) == (3, 1, 2, 0)
        assert report.is_sound

    def test_is_sealed_like_all_history(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        arrive("RB 1")
        run_until_idle()
        assert verify_chain().is_sound

    def test_loses_what_was_kept_out_without_a_trace(self, station: Any) -> None:
        """The recount has teeth: without the relay's note the message counts as lost."""
        station.declare()
        arrive("RB 1")
        relay()
        Delivery.objects.all().delete()
        assert not verify().is_sound

    def test_shows_on_the_message(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        [local] = arrive("RB 1")
        run_until_idle()
        found = get_message(local)
        assert found is not None
        assert [(each.consumer, each.status) for each in found.deliveries] == [(ANNOUNCE, "filtered")]

    def test_is_not_asked_about_a_replay(self, station: Any) -> None:
        def handler(event: Any, context: Any) -> None:
            if context.run == 1:
                raise PermanentError("derailed")

        station.declare(handler, retry=Retry(immediate=0, delays=()))
        [local] = arrive("RB 1")
        run_until_idle()
        station.declare(handler, filter=ICE_ONLY)
        synchronise(is_deploy=True)
        replay_dead_letters(ids=[dead(local).id], actor=ANA, reason="mended")
        run_until_idle()
        assert outcomes(local) == ["dead_lettered", "handled"]

    def test_changes_with_the_deploy_and_not_with_a_relay_of_the_release_before(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        station.declare(filter={"train": ["RB 1"]})
        synchronise()
        assert Subscription.objects.get(consumer=ANNOUNCE).filter == ICE_ONLY
        synchronise(is_deploy=True)
        arrive("ICE 1", "RB 1")
        run_until_idle()
        assert ledger() == ["RB 1"]

    def test_may_be_taken_away(self, station: Any) -> None:
        station.declare(filter=ICE_ONLY)
        arrive("RB 1")
        relay()
        station.declare()
        synchronise(is_deploy=True)
        arrive("RB 2")
        run_until_idle()
        assert ledger() == ["RB 2"]

    def test_is_found_by_a_relay_that_met_no_filter_before(self, station: Any) -> None:
        station.declare()
        arrive("RB 1")
        relay()
        station.declare(name=CLEAN, filter=ICE_ONLY)
        arrive("RB 2")
        relay()
        assert Attempt.objects.get(outcome="filtered").consumer == CLEAN

    @pytest.mark.parametrize("batch", [1, 2, 500])
    def test_of_one_type_leaves_no_other_type_behind(self, station: Any, batch: int) -> None:
        station.declare(filter=ICE_ONLY)
        station.declare(to=DoorsOpened, name=CLEAN)
        for number in range(3):
            arrive(f"ICE {number}", f"RB {number}")
            with transaction.atomic():
                publish(DoorsOpened(train=f"doors {number}"))
        while store().relay(batch).taken:
            pass
        assert not OutboxEntry.objects.exists()
        run_until_idle()
        assert ledger() == ["ICE 0", "ICE 1", "ICE 2", "doors 0", "doors 1", "doors 2"]
        assert outcomes().count("filtered") == 3

    def test_leaves_everything_in_the_outbox_when_the_relay_dies_between(
        self, station: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        station.declare(filter=ICE_ONLY)
        arrive("RB 1", "ICE 1")
        place = "relay.filtered" if connection.vendor == "postgresql" else "relay.fanned_out"

        def die(name: str) -> None:
            if name == place:
                raise InterruptedError

        from messaging import failpoints

        with monkeypatch.context() as patch:
            patch.setattr(failpoints, "reach", die)
            with pytest.raises(InterruptedError):
                store().relay(100)
        assert not Attempt.objects.exists()
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert outcomes().count("filtered") == 1
