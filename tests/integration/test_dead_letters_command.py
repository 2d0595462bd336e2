"""manage.py dead_letters and replay: the operator's repairs from a shell."""

from __future__ import annotations

import io
import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from messaging.models import AuditRecord
from messaging.subscriptions import synchronise
from tests.shop import dead_letters, draft, let_retries_come_due, post, state_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def order_id() -> UUID:
    """An order that billing could not charge."""
    synchronise()
    order_id = post(draft("unknown_currency"))
    let_retries_come_due()
    return order_id


def run(*arguments: object, command: str = "dead_letters") -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command(command, *(str(argument) for argument in arguments), stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


class TestDeadLetters:
    def test_lists_those_of_one_consumer(self, order_id: UUID) -> None:
        [dead] = dead_letters(order_id)
        assert str(dead.id) in run("list", "--consumer", "billing.charge_card")[1]
        assert "No dead letter matches" in run("list", "--consumer", "orders.confirm_order")[1]

    def test_shows_the_message_with_sensitive_fields_masked(self, order_id: UUID) -> None:
        [dead] = dead_letters(order_id)
        for shown in (run("show", dead.id)[1], run("show", dead.id, "--json")[1]):
            assert "UnknownCurrency" in shown
            assert "@example.com" not in shown

    def test_resubmits_an_edited_copy_of_the_masked_body(self, order_id: UUID, tmp_path: Path) -> None:
        [dead] = dead_letters(order_id)
        body = json.loads(run("show", dead.id, "--json")[1])["body"]
        edited = tmp_path / "body.json"
        edited.write_text(json.dumps({**body, "currency": "EUR"}))
        assert run("resubmit", dead.id, "--body", edited, "--reason", "wrong currency")[0] == 0
        let_retries_come_due()
        assert state_of(order_id) == "confirmed"

    def test_refuses_a_copy_that_breaks_the_contract(self, order_id: UUID, tmp_path: Path) -> None:
        [dead] = dead_letters(order_id)
        edited = tmp_path / "body.json"
        edited.write_text('{"currency": 7}')
        with pytest.raises(CommandError):
            run("resubmit", dead.id, "--body", edited, "--reason", "wrong currency")
        assert dead_letters(order_id)[0].state == "open"

    def test_replays_and_discards_by_id_or_filter(self, order_id: UUID) -> None:
        assert run("replay", "--consumer", "billing.charge_card", "--reason", "again")[0] == 0
        let_retries_come_due()
        [again] = dead_letters(order_id)
        assert again.run == 2
        code, text = run("discard", again.id, "--reason", "the customer gave up", "--json")
        assert (code, json.loads(text)["done"]) == (0, [str(again.id)])
        assert not dead_letters(order_id)

    def test_needs_to_be_told_which(self, order_id: UUID) -> None:
        with pytest.raises(CommandError, match="Name dead letters by id"):
            run("replay")
        assert dead_letters(order_id)[0].state == "open"


class TestReplay:
    def test_exits_with_1_when_something_was_refused(self, order_id: UUID) -> None:
        [dead] = dead_letters(order_id)
        assert run(dead.id, "--reason", "first", command="replay")[0] == 0
        code, text = run(dead.id, uuid4(), "--reason", "second", command="replay")
        assert code == 1
        assert "2 refused" in text

    def test_is_audited_under_the_name_of_the_person_at_the_shell(self, order_id: UUID) -> None:
        [dead] = dead_letters(order_id)
        run(dead.id, "--reason", "the bank is back", command="replay")
        record = AuditRecord.objects.get(reason="the bank is back")
        assert (record.actor_kind, record.outcome) == ("command", "done")
        assert record.actor
