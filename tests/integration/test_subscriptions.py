"""Subscriptions are rows: they follow the release, keep their start, and serve relays that do not know the consumer."""

from __future__ import annotations

from typing import Any

import pytest

from messaging.database import store
from messaging.models import ConsumerState, Delivery, Subscription
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from tests.factories import ANNOUNCE, DoorsOpened, arrive, ledger, relay

pytestmark = pytest.mark.django_db(transaction=True)


class TestSubscriptions:
    def test_are_served_by_a_relay_that_does_not_know_the_consumer(self, station: Any) -> None:
        station.declare(name="station.of_the_next_release")
        station.forget("station.of_the_next_release")  # this process is the older release now
        [message_id] = arrive("ICE 1")
        relay()
        assert Delivery.objects.get(message_id=message_id).consumer == "station.of_the_next_release"

    def test_do_not_reach_back_before_they_began(self, station: Any) -> None:
        arrive("too early")
        station.declare()
        arrive("in time")
        run_until_idle()
        assert ledger() == ["in time"]

    def test_follow_the_release(self, station: Any) -> None:
        station.declare()
        station.declare(to=DoorsOpened)
        synchronise(is_deploy=True)
        assert list(Subscription.objects.filter(consumer=ANNOUNCE).values_list("type", flat=True)) == [
            "tests.DoorsOpened"
        ]

    def test_survive_a_relay_of_the_release_before(self, station: Any) -> None:
        station.declare(to=DoorsOpened)
        station.forget(ANNOUNCE)
        station.declare()  # the release before wanted another contract, and its relay starts once more
        synchronise()
        assert set(Subscription.objects.filter(consumer=ANNOUNCE).values_list("type", flat=True)) == {
            "tests.DoorsOpened", "tests.TrainArrived",
        }  # fmt: skip

    def test_keep_their_start_when_synchronised_again(self, station: Any) -> None:
        station.declare()
        before = Subscription.objects.get(consumer=ANNOUNCE).starts_at
        synchronise()
        assert Subscription.objects.get(consumer=ANNOUNCE).starts_at == before

    def test_leave_the_consumers_of_other_services_alone(self) -> None:
        ConsumerState.objects.create(
            name="other.service", queue="other", guarantee="exactly_once", handler="x", synced_at=store().now()
        )
        Subscription.objects.create(type="x.Y", consumer="other.service", starts_at=store().now())
        synchronise()
        assert Subscription.objects.filter(consumer="other.service").exists()
        assert ConsumerState.objects.get(name="other.service").retired_at is None

    def test_keep_a_pause_when_the_next_release_is_deployed(self, station: Any) -> None:
        station.declare()
        ConsumerState.objects.filter(name=ANNOUNCE).update(paused_at=store().now(), paused_by="ana")
        station.declare()
        assert ConsumerState.objects.get(name=ANNOUNCE).paused_by == "ana"
