"""The one door from outside: accepted, duplicate, conflict, parked, quarantined, and nothing raised out of decode."""

from __future__ import annotations

import json
from typing import Any

import pytest

from messaging import ContractError
from messaging.contracts import upcasting
from messaging.contracts.model import declared
from messaging.errors import Undecodable, UnknownContract
from messaging.incoming import TooLarge, UnsupportedContentType
from messaging.ingest import IdConflict, Received, ingest
from messaging.models import Message, OutboxEntry, QuarantinedMessage, ReceivedMessage
from messaging.operations import discard_quarantined, retry_quarantined
from messaging.testing import run_until_idle
from tests.factories import ANA, EVE, TicketSold, TrainArrived, elsewhere, ledger

pytestmark = pytest.mark.django_db(transaction=True)
OWN, CLOUD = "application/json", "application/cloudevents+json"
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "not utf-8": b"\xff\xfe{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "not json": b"{'train': 1}",
    "cut off": b'{"type": "tests.TrainArrived", "version": 1, "da',
    "an array": b"[]",
    "null": b"null",
    "nul": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": "a\\u0000"}}',
    "nul in a key": b'{"type": "tests.TrainArrived", "version": 1, "data": {"tra\\u0000in": "a"}}',
    "lone surrogate": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": "\\ud800"}}',
    "nan": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": NaN}}',
    "infinite": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": 1e400}}',
    "twice the same key": b'{"type": "a", "type": "tests.TrainArrived", "version": 1, "data": {}}',
    "deep": b'{"type": "tests.TrainArrived", "version": 1, "data": ' + b'{"a":' * 90_000 + b"1" + b"}" * 90_001,
    "5,000 digits": b'{"type": "tests.TrainArrived", "version": ' + b"9" * 5000 + b', "data": {}}',
    "no type": b'{"version": 1, "data": {"train": "a"}}',
    "version as text": b'{"type": "tests.TrainArrived", "version": "1", "data": {"train": "a"}}',
    "data as text": b'{"type": "tests.TrainArrived", "version": 1, "data": "a"}',
    "unknown field": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": "a"}, "sender": "me"}',
    "contract violated": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": 5}}',
    "too large": b'{"type": "tests.TrainArrived", "version": 1, "data": {"train": "' + b"x" * 1_200_000 + b'"}}',
}


def own(train: Any = "ICE 1", **fields: Any) -> bytes:
    return json.dumps({"type": "tests.TrainArrived", "version": 1, "data": {"train": train}} | fields).encode()


def cloud(**fields: Any) -> bytes:
    event = {
        "specversion": "1.0", "id": "c-1", "source": "urn:yard", "type": "tests.TrainArrived",
        "data": {"train": "ICE 1"},
    }  # fmt: skip
    return json.dumps(event | fields).encode()


def take(raw: bytes, *, content_type: str = OWN, strict: bool = False, source: str = "yard") -> Received:
    return ingest(raw, content_type=content_type, source=source, headers={"x-yard": "7"}, strict=strict)


class TestAccepted:
    def test_is_published(self, station: Any) -> None:
        station.declare()
        received = take(own(key="track 4", correlation_id="day-1", occurred_at="2026-01-02T03:04:05+01:00"))
        assert received.outcome == "accepted"
        message = Message.objects.get(id=received.message_id)
        assert (message.source, message.key, message.correlation_id) == ("yard", "track 4", "day-1")
        assert message.occurred_at.isoformat() == "2026-01-02T02:04:05+00:00"
        assert message.headers == {"x-yard": "7"}
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_reads_a_cloud_event_with_its_extensions(self, station: Any) -> None:
        received = take(cloud(partitionkey="track 4", time="2026-01-02T03:04:05Z", shift="night"), content_type=CLOUD)
        message = Message.objects.get(id=received.message_id)
        assert (message.source, message.key, message.version) == ("urn:yard", "track 4", 1)
        assert message.headers == {"x-yard": "7", "ce-shift": "night"}

    def test_takes_an_old_version_that_can_be_lifted(self, station: Any) -> None:
        sold = []
        station.declare(lambda event, context: sold.append(event.currency), to=TicketSold)
        take(json.dumps({"type": "tests.TicketSold", "version": 1, "data": {"price": "4"}}).encode())
        run_until_idle()
        assert sold == ["EUR"]


class TestDuplicate:
    def test_of_the_same_id_and_body_is_answered_with_the_first_message(self) -> None:
        first, second = take(own(id="m-1")), take(own(id="m-1"))
        assert (second.outcome, second.message_id) == ("duplicate", first.message_id)
        assert Message.objects.count() == OutboxEntry.objects.count() == 1

    def test_is_told_by_what_is_meant_not_by_spaces(self) -> None:
        take(own(id="m-1"))
        assert take(own(id="m-1").replace(b": ", b":   ")).outcome == "duplicate"

    def test_belongs_to_its_source(self) -> None:
        take(own(id="m-1"))
        assert take(own(id="m-1"), source="harbour").outcome == "accepted"

    def test_without_an_id_is_no_duplicate(self) -> None:
        assert [take(own()).outcome, take(own()).outcome] == ["accepted", "accepted"]

    def test_is_found_when_both_come_at_once(self) -> None:
        both = [elsewhere(lambda: take(own(id="m-1")).outcome) for _ in range(4)]
        assert sorted(future.result(30) for future in both) == ["accepted", "duplicate", "duplicate", "duplicate"]
        assert Message.objects.count() == 1


class TestConflict:
    @pytest.mark.parametrize("other", [{"train": "ICE 2"}, {"key": "track 9"}])
    def test_is_an_id_that_comes_back_with_another_body(self, other: dict[str, Any]) -> None:
        take(own(id="m-1"))
        received = take(own(id="m-1", **other))
        assert received.outcome == "conflict"
        row = QuarantinedMessage.objects.get(id=received.quarantine_id)
        assert (row.kind, row.external_id, row.field) == ("conflict", "m-1", "id")
        assert Message.objects.count() == 1

    def test_is_raised_to_who_can_be_answered(self) -> None:
        take(own(id="m-1"))
        with pytest.raises(IdConflict) as refused:
            take(own("ICE 2", id="m-1"), strict=True)
        assert refused.value.field == "id"
        assert not QuarantinedMessage.objects.exists()


class TestQuarantined:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_keeps_what_cannot_be_read_raw_and_visible(self, name: str) -> None:
        received = take(HOSTILE[name])
        assert received.outcome == "quarantined"
        row = QuarantinedMessage.objects.get(id=received.quarantine_id)
        assert bytes(row.raw) == HOSTILE[name]
        assert (row.state, row.source, row.headers) == ("open", "yard", {"x-yard": "7"})
        assert row.reason
        assert not Message.objects.exists()

    @pytest.mark.parametrize("name", HOSTILE)
    def test_is_raised_to_who_can_be_answered_and_stores_nothing(self, name: str) -> None:
        with pytest.raises(ContractError):
            take(HOSTILE[name], strict=True)
        assert not QuarantinedMessage.objects.exists()
        assert not Message.objects.exists()

    @pytest.mark.parametrize(
        ("raw", "content_type", "error"),
        [
            (HOSTILE["too large"], OWN, TooLarge),
            (own(), "text/xml", UnsupportedContentType),
            (own(), "", UnsupportedContentType),
            (HOSTILE["cut off"], OWN, Undecodable),
            (own(version=9), OWN, UnknownContract),
            (cloud(specversion="0.3"), CLOUD, ContractError),
            (cloud(time="yesterday"), CLOUD, ContractError),
            (cloud(time="9999-12-31T23:59:59Z"), CLOUD, ContractError),
            (cloud(**{"Bad-Name": "x"}), CLOUD, ContractError),
            (cloud(extra={"a": 1}), CLOUD, ContractError),
        ],
    )
    def test_tells_the_kinds_apart(self, raw: bytes, content_type: str, error: type[ContractError]) -> None:
        with pytest.raises(error):
            take(raw, content_type=content_type, strict=True)

    def test_keeps_a_hostile_envelope_too(self) -> None:
        received = ingest(
            b"\x00", content_type="a\x00/" + "x" * 500, source="s\x00" * 300, headers={"\ud800": "\x00"}, strict=False
        )
        row = QuarantinedMessage.objects.get(id=received.quarantine_id)
        assert row.headers == {"\\ud800": "\\x00"}

    def test_holds_an_upcaster_that_breaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for broken in (lambda data: 1 / 0, lambda data: None, lambda data: data["gone"], lambda data: [1]):
            monkeypatch.setitem(upcasting._upcasters, ("tests.TicketSold", 1), broken)
            monkeypatch.delitem(declared["tests.TicketSold"], 1, raising=False)
            raw = json.dumps({"type": "tests.TicketSold", "version": 1, "data": {"price": "4"}}).encode()
            assert take(raw).outcome == "quarantined"


class TestParked:
    def test_waits_for_the_deploy_that_knows_it(self, station: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(declared, "tests.TrainArrived")
        received = take(own(id="m-1"))
        row = QuarantinedMessage.objects.get(id=received.quarantine_id)
        assert (received.outcome, row.kind, row.type, row.version) == ("parked", "parked", "tests.TrainArrived", 1)
        [refusal] = retry_quarantined(ids=[row.id], actor=ANA).refused
        assert refusal.why.startswith("still refused: Unknown type")
        assert not ReceivedMessage.objects.exists()
        monkeypatch.setitem(declared, "tests.TrainArrived", {1: TrainArrived})
        station.declare()
        assert retry_quarantined(ids=[row.id], actor=ANA).done == (row.id,)
        row.refresh_from_db()
        assert (row.state, row.resolved_by) == ("accepted", "ana")
        assert Message.objects.get(id=row.message_id).source == "yard"
        run_until_idle()
        assert ledger() == ["ICE 1"]
        [refusal] = retry_quarantined(ids=[row.id], actor=ANA).refused
        assert refusal.why == "already accepted by ana"

    def test_of_an_unknown_version_is_told_from_an_unknown_type(self) -> None:
        row = QuarantinedMessage.objects.get(id=take(own(version=9)).quarantine_id)
        assert (row.kind, row.field) == ("parked", "version")

    def test_retried_as_a_repeat_is_closed_with_the_first_message(self) -> None:
        row = QuarantinedMessage.objects.get(id=take(own(id="m-1", version=9)).quarantine_id)
        first = take(own(id="m-1"))
        QuarantinedMessage.objects.filter(id=row.id).update(raw=own(id="m-1"))
        assert retry_quarantined(ids=[row.id], actor=ANA).done == (row.id,)
        row.refresh_from_db()
        assert row.message_id == first.message_id
        assert Message.objects.count() == 1

    def test_can_be_given_up_with_a_reason(self) -> None:
        received = take(own(version=9))
        assert received.quarantine_id is not None
        assert discard_quarantined(ids=[received.quarantine_id], actor=ANA, reason="old").done
        assert QuarantinedMessage.objects.get().state == "discarded"

    def test_is_not_retried_by_who_may_only_look(self) -> None:
        from messaging import OperationRefused

        received = take(own(version=9))
        assert received.quarantine_id is not None
        with pytest.raises(OperationRefused, match="eve may not"):
            retry_quarantined(ids=[received.quarantine_id], actor=EVE)
