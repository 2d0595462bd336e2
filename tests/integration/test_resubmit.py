"""An edited copy: whom it goes to, and that the original is resolved with it, not before."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from messaging import Context, OperationRefused, PermanentError
from messaging.contracts import redaction
from messaging.models import AuditRecord, DeadLetter, Message, Total
from messaging.operations import check_resubmission, replay_dead_letters, resubmit_dead_letter
from messaging.rollups import fold
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import (
    ANA,
    BEN,
    CLEAN,
    EVE,
    PassengersBoarded,
    TrainArrived,
    arrive,
    dead,
    ledger,
    outcomes,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)


def refuse_13(event: TrainArrived, context: Context) -> None:
    if event.train.startswith("ICE 13"):
        raise PermanentError("no such track")
    write(event.train)


@pytest.fixture
def letter(station: Any) -> DeadLetter:
    """ICE 13 failed at its announcement; the cleaners handled it."""
    station.declare(refuse_13)
    station.declare(lambda event, context: write(f"clean {event.train}"), name=CLEAN)
    [message_id] = arrive("ICE 13", key="track 4", headers={"shift": "night"}, correlation_id="day-1")
    run_until_idle()
    return dead(message_id)


def resubmit(letter: DeadLetter, train: str = "ICE 14", **given: Any) -> UUID:
    body = json.dumps({"train": train})
    return resubmit_dead_letter(**({"id": letter.id, "body": body, "actor": ANA, "reason": "typo"} | given)).message_id


class TestResubmit:
    def test_is_a_new_message_caused_by_the_original(self, letter: DeadLetter) -> None:
        copy = Message.objects.get(id=resubmit(letter))
        original = Message.objects.get(id=letter.message_id)
        assert json.loads(bytes(copy.body)) == {"train": "ICE 14"}
        assert (copy.causation_id, copy.correlation_id, copy.key) == (str(original.id), "day-1", "track 4")
        assert copy.headers == {"shift": "night"}
        assert json.loads(bytes(original.body)) == {"train": "ICE 13"}

    def test_goes_to_the_consumer_that_failed(self, letter: DeadLetter) -> None:
        resubmit(letter)
        run_until_idle()
        assert ledger() == ["ICE 14", "clean ICE 13"]
        assert verify().is_sound

    def test_goes_to_all_when_widened(self, letter: DeadLetter) -> None:
        copy = resubmit(letter, audience="all")
        run_until_idle()
        assert ledger() == ["ICE 14", "clean ICE 13", "clean ICE 14"]
        assert [outcomes(copy), outcomes(copy, CLEAN)] == [["handled"], ["handled"]]
        assert DeadLetter.objects.get().state == "resolved"
        assert verify().is_sound

    def test_is_counted_as_one_publication_however_many_receive_it(self, letter: DeadLetter) -> None:
        resubmit(letter, audience="all")
        run_until_idle()
        while fold():
            pass
        assert Total.objects.get(consumer="", outcome="published").count == Message.objects.count()

    def test_resolves_the_original_only_when_the_copy_is_handled(self, letter: DeadLetter) -> None:
        copy = resubmit(letter)
        letter.refresh_from_db()
        assert (letter.state, letter.copy_id, letter.resolved_at) == ("resubmitting", copy, None)
        run_until_idle()
        letter.refresh_from_db()
        assert (letter.state, letter.resolution, letter.resolved_by) == ("resolved", "resubmitted", "ana")
        assert letter.resolved_at is not None

    def test_opens_the_original_again_when_the_copy_fails(self, letter: DeadLetter) -> None:
        copy = resubmit(letter, "ICE 13b")
        run_until_idle()
        letter.refresh_from_db()
        assert letter.state == "open"
        assert dead(copy).resolves == letter.id
        assert verify().is_sound
        resubmit(letter)
        run_until_idle()
        letter.refresh_from_db()
        assert letter.state == "resolved"

    @pytest.mark.parametrize("by", ["resubmit", "replay", "replay after a failed replay"])
    def test_resolves_the_original_with_the_copy_of_the_copy(self, letter: DeadLetter, station: Any, by: str) -> None:
        copy = resubmit(letter, "ICE 13b")
        run_until_idle()
        if by == "resubmit":
            resubmit(dead(copy))
        else:
            if by != "replay":
                replay_dead_letters(ids=[dead(copy).id], actor=ANA, reason="too early")
                run_until_idle()
            station.declare(lambda event, context: write(event.train))
            replay_dead_letters(ids=[dead(copy).id], actor=ANA, reason="a new track")
        run_until_idle()
        assert set(DeadLetter.objects.values_list("state", flat=True)) == {"resolved"}
        assert verify().is_sound

    def test_is_refused_while_a_copy_or_replay_is_on_its_way(self, letter: DeadLetter) -> None:
        resubmit(letter)
        with pytest.raises(OperationRefused, match="resubmitted by ana") as refused:
            resubmit(letter, actor=BEN)
        assert refused.value.code == "conflict"
        [refusal] = replay_dead_letters(ids=[letter.id], actor=BEN, reason="r").refused
        assert "an edited copy is already on its way" in refusal.why
        assert Message.objects.count() == 2

    def test_is_answered_the_same_under_its_request_id(self, letter: DeadLetter) -> None:
        assert resubmit(letter, request_id="r-1") == resubmit(letter, request_id="r-1")
        assert Message.objects.count() == 2

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"body": '{"train": 5}'}, "invalid", "body.train"),
            ({"body": '{"train": "x", "speed": 5}'}, "invalid", "body.speed"),
            ({"body": "{"}, "invalid", "body"),
            ({"body": '{"train": "nul \\u0000"}'}, "invalid", "body.train"),
            ({"body": "\ud800"}, "invalid", "body"),
            ({"reason": ""}, "invalid", "reason"),
            ({"audience": "some"}, "invalid", "audience"),
            ({"headers": {"a": "x" * 5000}}, "invalid", "headers"),
            ({"id": UUID(int=5)}, "not_found", "id"),
            ({"actor": EVE}, "forbidden", ""),
        ],
    )
    def test_refuses_and_stores_nothing(self, letter: DeadLetter, given: Any, code: str, field: str) -> None:
        with pytest.raises(OperationRefused) as refused:
            resubmit(letter, **given)
        assert (refused.value.code, refused.value.field) == (code, field)
        assert Message.objects.count() == 1
        letter.refresh_from_db()
        assert letter.state == "open"
        assert AuditRecord.objects.get().outcome in {"refused", "denied"}

    def test_is_audited_with_the_copy_and_its_audience(self, letter: DeadLetter) -> None:
        copy = resubmit(letter, headers={"shift": "day"})
        record = AuditRecord.objects.get()
        assert (record.action, record.target) == ("dead_letter.resubmit", f"dead_letter:{letter.id}")
        assert (record.details["copy_id"], record.details["audience"]) == (str(copy), "failed")
        assert Message.objects.get(id=copy).headers == {"shift": "day"}


class TestCheckResubmission:
    def test_says_what_is_wrong_at_which_line_and_who_handled_it(self, letter: DeadLetter) -> None:
        check = check_resubmission(id=letter.id, body='{\n  "train": 5\n}')
        assert [(each.path, each.line) for each in check.errors] == [("train", 2)]
        assert (check.is_open, check.handled_elsewhere) == (True, (CLEAN,))
        assert Message.objects.count() == 1

    def test_says_why_it_is_not_open(self, letter: DeadLetter) -> None:
        resubmit(letter)
        check = check_resubmission(id=letter.id, body='{"train": "ICE 1"}')
        assert (check.errors, check.is_open) == ((), False)
        assert "ana" in check.resolved_by


class TestMaskedCopy:
    def test_keeps_the_masked_values_that_were_not_touched(self, station: Any) -> None:
        from django.db import transaction

        from messaging import publish

        def handler(event: PassengersBoarded, context: Context) -> None:
            if event.train == "ICE 13":
                raise PermanentError
            write(f"{event.train} {event.guard} {event.seats[0].passenger} {event.phones['ada']}")

        station.declare(handler, to=PassengersBoarded)
        with transaction.atomic():
            message_id = publish(
                PassengersBoarded.model_validate(
                    {
                        "train": "ICE 13",
                        "guard": "Grace",
                        "seats": [{"number": 1, "passenger": "Ada"}],
                        "phones": {"ada": "555"},
                    }
                )
            )
        run_until_idle()
        stored = bytes(Message.objects.get(id=message_id).body)
        shown = json.loads(redaction.mask("tests.PassengersBoarded", 1, stored))
        assert "Ada" not in json.dumps(shown)
        assert "555" not in json.dumps(shown)
        body = json.dumps({**shown, "train": "ICE 14"})
        resubmit_dead_letter(id=dead(message_id).id, body=body, actor=ANA, reason="typo")
        run_until_idle()
        assert ledger() == ["ICE 14 Grace Ada 555"]

    def test_never_gives_a_mask_the_value_of_another_item(self, station: Any) -> None:
        """Items were taken out or added: which hidden value belongs to which mask cannot be told any more."""
        from django.db import transaction

        from messaging import publish

        def handler(event: PassengersBoarded, context: Context) -> None:
            raise PermanentError

        station.declare(handler, to=PassengersBoarded)
        seats = [{"number": 1, "passenger": "Ada"}, {"number": 2, "passenger": "Alan"}]
        with transaction.atomic():
            message_id = publish(PassengersBoarded.model_validate({"train": "ICE 13", "seats": seats}))
        run_until_idle()
        stored = bytes(Message.objects.get(id=message_id).body)
        shown = json.loads(redaction.mask("tests.PassengersBoarded", 1, stored))
        body = json.dumps({**shown, "seats": shown["seats"][1:]})
        with pytest.raises(OperationRefused) as refused:
            resubmit_dead_letter(id=dead(message_id).id, body=body, actor=ANA, reason="one too many")
        assert refused.value.field == "body.seats[0].passenger"
