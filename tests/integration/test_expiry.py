"""A message may expire: who has not begun with it by then never does, and that is visible."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from messaging import Context, ContractError, MessageExpired, Retry, clock, publish
from messaging.consumers import Guarantee
from messaging.ingest import ingest
from messaging.models import Attempt, DeadLetter, Message
from messaging.operations import pause_consumer, replay_dead_letters, resume_consumer
from messaging.testing import Harness
from messaging.verification import verify
from tests.factories import ANA, ANNOUNCE, Station, TrainArrived, announce, ledger, outcomes, write

SLOWLY = Retry(immediate=0, delays=("10m",))
GUARANTEES: list[Guarantee] = ["exactly_once", "at_least_once", "at_most_once"]


class TestExpiry:
    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_keeps_a_late_message_from_its_consumer(
        self, harness: Harness, station: Station, guarantee: Guarantee
    ) -> None:
        station.declare(guarantee=guarantee)
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="maintenance", until=harness.now + timedelta(hours=2))
        harness.publish(TrainArrived(train="ICE 1"), expires_in="1h")
        harness.publish(TrainArrived(train="ICE 2"), expires_at=harness.now + timedelta(hours=3))
        harness.publish(TrainArrived(train="ICE 3"))
        harness.advance("3h")
        assert ledger() == ["ICE 2", "ICE 3"]
        [letter] = harness.dead_lettered(TrainArrived, train="ICE 1", reason="expired", error=MessageExpired)
        assert outcomes(letter.message_id) == ["dead_lettered"]
        assert verify().is_sound

    def test_ends_the_retries_too(self, harness: Harness, station: Station) -> None:
        station.declare(retry=SLOWLY)
        harness.fail(announce)
        harness.publish(TrainArrived(train="ICE 1"), expires_in="5m")
        harness.finish()
        assert ledger() == []
        harness.dead_lettered(TrainArrived, reason="expired", times=1)
        assert list(Attempt.objects.order_by("id").values_list("outcome", flat=True)) == ["retried", "dead_lettered"]

    def test_does_not_hold_for_a_replay_which_is_a_persons_decision(self, harness: Harness, station: Station) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="maintenance")
        harness.publish(TrainArrived(train="ICE 1"), expires_in="1m")
        harness.advance("2m")
        resume_consumer(name=ANNOUNCE, actor=ANA, reason="done")
        harness.run()
        [letter] = harness.dead_lettered(TrainArrived, reason="expired")
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="better late than never")
        harness.run()
        assert ledger() == ["ICE 1"]
        assert DeadLetter.objects.get().state == "resolved"

    def test_is_told_to_the_operator_before_a_replay(
        self, harness: Harness, station: Station, admin_client: Client
    ) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="maintenance", until=harness.now + timedelta(hours=1))
        harness.publish(TrainArrived(train="ICE 1"), expires_in="1m")
        harness.finish()
        [letter] = harness.dead_lettered(TrainArrived, reason="expired")
        page = admin_client.get(f"/dead-letters/one/{letter.id}").content.decode()
        assert "A replay handles it all the same" in page

    @pytest.mark.parametrize("guarantee", GUARANTEES)
    def test_counts_when_the_handler_would_begin_not_when_its_chunk_was_claimed(
        self, harness: Harness, station: Station, guarantee: Guarantee
    ) -> None:
        lingered = timedelta()

        def linger(event: TrainArrived, context: Context) -> None:
            nonlocal lingered
            write(event.train)
            lingered += timedelta(minutes=2)

        clock.install(lambda: harness.now + lingered)
        station.declare(linger, guarantee=guarantee)
        for n in range(3):
            harness.publish(TrainArrived(train=f"ICE {n}"), expires_in="1m")
        harness.run()
        assert ledger() == ["ICE 0"]
        harness.dead_lettered(TrainArrived, reason="expired", times=2)
        assert verify().is_sound

    def test_holds_up_nobody_on_its_key_even_where_a_failure_would(self, harness: Harness, station: Station) -> None:
        station.declare(ordered=True, on_failure="block")
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="maintenance", until=harness.now + timedelta(minutes=1))
        for n in range(3):
            harness.publish(TrainArrived(train=f"ICE {n}"), key="a", expires_in="1m" if n == 1 else None)
        harness.advance("2m")
        harness.publish(TrainArrived(train="ICE 3"), key="a")  # its dead letter stands by now
        harness.run()
        assert ledger() == ["ICE 0", "ICE 2", "ICE 3"]
        harness.dead_lettered(TrainArrived, reason="expired", times=1)

    def test_spares_the_neighbours_of_a_chunk(self, harness: Harness, station: Station) -> None:
        station.declare()
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="maintenance", until=harness.now + timedelta(minutes=1))
        for n in range(9):
            harness.publish(TrainArrived(train=f"RE {n}"), expires_in="1m" if n % 3 else None)
        harness.advance("2m")
        assert ledger() == ["RE 0", "RE 3", "RE 6"]
        harness.dead_lettered(TrainArrived, reason="expired", times=6)
        assert outcomes().count("handled") == 3

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({"expires_in": "1h", "expires_at": datetime(2027, 1, 1, tzinfo=UTC)}, "not both"),
            ({"expires_at": datetime(2027, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ],
    )
    def test_is_given_clearly(self, given: dict[str, Any], text: str, db: None) -> None:
        with pytest.raises(ContractError, match=text) as caught:
            publish(TrainArrived(train="ICE 1"), **given)
        assert caught.value.field == "expires_at"

    @pytest.mark.parametrize(
        ("kind", "form"),
        [
            ("application/json", {"version": 1, "expires_at": "2026-11-24T18:00:00Z", "id": "1"}),
            (
                "application/cloudevents+json",
                {"specversion": "1.0", "id": "1", "source": "signal-box", "expirytime": "2026-11-24T18:00:00Z"},
            ),
        ],
    )
    def test_comes_from_outside_too(self, kind: str, form: dict[str, Any], db: None) -> None:
        raw = json.dumps({"type": "tests.TrainArrived", "data": {"train": "ICE 1"}, **form}).encode()
        assert ingest(raw, content_type=kind, source="signal-box", strict=True).outcome == "accepted"
        assert Message.objects.get().expires_at == datetime(2026, 11, 24, 18, tzinfo=UTC)
        assert "ce-expirytime" not in Message.objects.get().headers
