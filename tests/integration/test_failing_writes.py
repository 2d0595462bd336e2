"""What the database cannot take is never acknowledged: it can be sent again, and then nothing is lost or doubled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from messaging.ingest import ingest
from messaging.models import Message, QuarantinedMessage, ReceivedMessage
from messaging.operations import retry_quarantined
from tests.api import Api, problem
from tests.deaths import failing_writes
from tests.factories import ANA

pytestmark = pytest.mark.django_db(transaction=True)
GOOD = {"type": "tests.TrainArrived", "version": 1, "id": "1", "data": {"train": "ICE 1"}}


def lines(*documents: Any) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in documents)


class TestFailingWrite:
    @pytest.mark.parametrize("table", ["messaging_message", "messaging_outboxentry", "messaging_receivedmessage"])
    def test_makes_rest_answer_503_and_the_client_may_send_it_again(self, table: str) -> None:
        api = Api("publish")
        with failing_writes(table):
            answer = api.post("/messages", GOOD)
            problem(answer, 503)
            assert answer["Retry-After"]
        assert not Message.objects.exists()
        assert not ReceivedMessage.objects.exists()
        assert api.post("/messages", GOOD).json()["status"] == "accepted"
        assert api.post("/messages", GOOD).json()["status"] == "duplicate"
        assert Message.objects.count() == 1

    def test_of_the_quarantine_keeps_the_line_in_its_file_and_the_next_run_takes_it(self, tmp_path: Path) -> None:
        file = tmp_path / "recorded.jsonl"
        file.write_bytes(lines(GOOD, b"\xff not json", {**GOOD, "id": "2"}))
        with failing_writes("messaging_quarantinedmessage"), pytest.raises(CommandError, match="The database failed"):
            call_command("ingest", str(file))
        assert not QuarantinedMessage.objects.exists()
        assert not Message.objects.exists()  # nor was its neighbour's line half taken
        call_command("ingest", str(file))
        assert bytes(QuarantinedMessage.objects.get().raw) == b"\xff not json"
        assert Message.objects.count() == 2

    def test_of_the_quarantine_is_raised_to_whoever_would_acknowledge(self) -> None:
        with failing_writes("messaging_quarantinedmessage"), pytest.raises(DatabaseError):
            ingest(b"\xff not json", content_type="application/json", source="broker", headers={})
        assert ingest(b"\xff not json", content_type="application/json", source="broker").outcome == "quarantined"

    def test_leaves_a_quarantined_message_open_when_it_is_sent_in_again(self) -> None:
        parked = ingest(lines({**GOOD, "version": 9}), content_type="application/json", source="broker")
        assert parked.quarantine_id is not None
        QuarantinedMessage.objects.update(raw=lines(GOOD))
        with failing_writes("messaging_message"), pytest.raises(DatabaseError):
            retry_quarantined(ids=[parked.quarantine_id], actor=ANA)
        assert QuarantinedMessage.objects.get().state == "open"
        retry_quarantined(ids=[parked.quarantine_id], actor=ANA)
        assert QuarantinedMessage.objects.get().state == "accepted"
