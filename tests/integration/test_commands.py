"""Commands: one handler each, answers that find the asker, timeouts that race with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from messaging import (
    Command,
    Context,
    ContractError,
    Event,
    ReplyTimedOut,
    TransactionRequired,
    consumer,
    publish,
    reply,
    send,
)
from messaging.checks import check_command_handlers
from messaging.consumers import forget_consumer
from messaging.contracts.model import declared
from messaging.database import store
from messaging.models import Message, ScheduledMessage, Subscription
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from messaging.verification import verify
from tests.factories import TrainArrived, elsewhere, ledger, write

pytestmark = pytest.mark.django_db(transaction=True)
ASKER, WORKER = "dispatch.ask", "yard.assign"


class AssignPlatform(Command, version=1, name="tests.AssignPlatform"):
    train: str


class PlatformAssigned(Event, version=1, name="tests.PlatformAssigned"):
    train: str
    platform: int


def assign(command: AssignPlatform, context: Context) -> None:
    reply(PlatformAssigned(train=command.train, platform=7))


def note(event: PlatformAssigned | ReplyTimedOut, context: Context) -> None:
    """Write down what the asker is told, and of which command."""
    status = f" {context.reply_status}" if context.reply_status else ""
    write(f"{type(event).__name__}{status} to {context.in_reply_to}")


class Yard:
    """Declares the asker and the handler of commands for one test."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def declare(self, name: str, handler: Any, *models: Any, **policy: Any) -> None:
        forget_consumer(name)
        self.names.add(name)
        consumer(*models, name=name, **policy)(handler)

    def open(self, handler: Any = assign, **policy: Any) -> None:
        self.declare(WORKER, handler, AssignPlatform, **policy)
        self.declare(ASKER, note, PlatformAssigned, ReplyTimedOut)
        synchronise()


@pytest.fixture
def yard() -> Iterator[Yard]:
    yard = Yard()
    yield yard
    for name in yard.names:
        forget_consumer(name)


def ask(**options: Any) -> UUID:
    with transaction.atomic():
        return send(AssignPlatform(train="ICE 1"), **options)


def let_time_out() -> None:
    assert ScheduledMessage.objects.update(due_at=store().now() - timedelta(seconds=1)) == 1


class TestSend:
    def test_reaches_the_one_handler(self, yard: Yard) -> None:
        yard.open(lambda command, context: write(command.train))
        ask()
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_needs_a_transaction(self, yard: Yard) -> None:
        yard.open()
        with pytest.raises(TransactionRequired):
            send(AssignPlatform(train="ICE 1"))

    def test_refuses_an_event_and_publish_refuses_a_command(self) -> None:
        with transaction.atomic():
            with pytest.raises(ContractError, match=r"use publish\(\)"):
                send(TrainArrived(train="ICE 1"))
            with pytest.raises(ContractError, match=r"use send\(\)"):
                publish(AssignPlatform(train="ICE 1"))

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"reply_to": "nobody"}, "reply_to"),
            ({"timeout": "1m"}, "timeout"),
            ({"reply_to": WORKER, "timeout": "1m"}, "timeout"),  # it does not take ReplyTimedOut
            ({"reply_to": ASKER, "timeout": 0}, "timeout"),
        ],
    )
    def test_refuses_an_asker_that_cannot_be_told(self, yard: Yard, options: dict[str, Any], field: str) -> None:
        yard.open()
        with pytest.raises(ContractError) as refused:
            ask(**options)
        assert refused.value.field == field

    def test_waits_for_its_time(self, yard: Yard) -> None:
        yard.open(lambda command, context: write(command.train))
        ask(delay="1h")
        run_until_idle()
        assert ledger() == []
        let_time_out()
        run_until_idle()
        assert ledger() == ["ICE 1"]


class TestReply:
    @pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once", "at_most_once"])
    def test_goes_to_the_asker_only_and_takes_the_timeout_back(self, yard: Yard, guarantee: str) -> None:
        yard.declare("yard.board", lambda event, context: write("board"), PlatformAssigned)
        yard.open(guarantee=guarantee)
        command_id = ask(reply_to=note, timeout="1m", correlation_id="journey-9")
        run_until_idle()
        assert ledger() == [f"PlatformAssigned to {command_id}"]
        assert not ScheduledMessage.objects.exists()
        answer = Message.objects.get(type=PlatformAssigned.contract_name)
        assert (answer.correlation_id, answer.causation_id) == ("journey-9", str(command_id))
        assert verify().is_sound

    def test_is_sent_once_although_its_handler_failed_first(self, yard: Yard) -> None:
        def answer_then_fail(command: AssignPlatform, context: Context) -> None:
            assign(command, context)
            if context.attempt == 1:
                raise ValueError

        yard.open(answer_then_fail, guarantee="at_least_once")
        command_id = ask(reply_to=ASKER, timeout="1m")
        run_until_idle()
        assert ledger() == [f"PlatformAssigned to {command_id}"]

    def test_from_within_a_savepoint_counts_as_well(self, yard: Yard) -> None:
        def answer_in_savepoint(command: AssignPlatform, context: Context) -> None:
            with transaction.atomic():
                assign(command, context)

        yard.open(answer_in_savepoint)
        command_id = ask(reply_to=ASKER, timeout="1m")
        run_until_idle()
        assert ledger() == [f"PlatformAssigned to {command_id}"]

    def test_is_nothing_when_nobody_asked(self, yard: Yard) -> None:
        yard.open()
        ask()
        run_until_idle()
        assert not Message.objects.filter(type=PlatformAssigned.contract_name).exists()

    def test_needs_a_command_to_answer(self) -> None:
        with pytest.raises(ContractError, match="inside the command's handler"):
            reply(PlatformAssigned(train="ICE 1", platform=7))

    def test_of_a_kind_that_the_asker_does_not_take_is_refused(self, yard: Yard) -> None:
        yard.open(lambda command, context: reply(TrainArrived(train=command.train)))
        ask(reply_to=ASKER)
        run_until_idle()
        [outcome] = [each.outcomes for each in verify().consumers if each.consumer == WORKER]
        assert (outcome.dead_lettered, ledger()) == (1, [])


class TestTimeout:
    def test_tells_the_asker_when_no_answer_came(self, yard: Yard) -> None:
        yard.open(lambda command, context: None)
        command_id = ask(reply_to=ASKER, timeout="1m")
        run_until_idle()
        assert ledger() == []
        let_time_out()
        run_until_idle()
        assert ledger() == [f"ReplyTimedOut to {command_id}"]
        assert verify().is_sound

    def test_marks_a_later_answer_and_delivers_it_all_the_same(self, yard: Yard) -> None:
        yard.open()
        command_id = ask(reply_to=ASKER, timeout="1m")
        let_time_out()
        store().move_due(10)
        run_until_idle()
        assert ledger() == [f"PlatformAssigned late to {command_id}", f"ReplyTimedOut to {command_id}"]

    def test_marks_a_second_answer(self, yard: Yard) -> None:
        def answer_twice(command: AssignPlatform, context: Context) -> None:
            assign(command, context)
            assign(command, context)

        yard.open(answer_twice)
        command_id = ask(reply_to=ASKER, timeout="1m")
        run_until_idle()
        assert ledger() == [f"PlatformAssigned repeated to {command_id}", f"PlatformAssigned to {command_id}"]

    def test_counts_from_when_the_command_is_due(self, yard: Yard) -> None:
        yard.open()
        ask(reply_to=ASKER, timeout="1m", delay="1h")
        command, timeout = ScheduledMessage.objects.order_by("due_at")
        assert timedelta(seconds=59) < timeout.due_at - command.due_at < timedelta(seconds=61)

    def test_against_the_answer_leaves_one_winner(self, yard: Yard) -> None:
        yard.open()
        for _ in range(6):
            ask(reply_to=ASKER, timeout="1m")
            run_until_idle(consumers=[])
            let_time_out()
            answered, fired = (
                elsewhere(lambda: run_until_idle(consumers=[WORKER])),
                elsewhere(lambda: store().move_due(5)),
            )
            assert answered.result(timeout=30) == 1
            fired.result(timeout=30)
        run_until_idle()
        lines = ledger()
        timeouts = [line for line in lines if line.startswith("ReplyTimedOut")]
        late = [line for line in lines if line.startswith("PlatformAssigned late")]
        in_time = [line for line in lines if line.startswith("PlatformAssigned to")]
        assert len(timeouts) == len(late)
        assert len(late) + len(in_time) == 6
        assert verify().is_sound


class TestHandler:
    def test_of_a_command_is_replaced_by_the_one_of_the_next_deploy(self, yard: Yard) -> None:
        yard.open(lambda command, context: write("old"))
        ask()
        forget_consumer(WORKER)
        yard.declare("yard.assign_by_table", lambda command, context: write("new"), AssignPlatform)
        synchronise(is_deploy=True)
        run_until_idle()
        assert ledger() == ["new"]
        assert verify().is_sound

    def test_of_the_release_before_does_not_come_back_beside_it(self, yard: Yard) -> None:
        yard.open(lambda command, context: write("old"))
        forget_consumer(WORKER)
        yard.declare("yard.assign_by_table", lambda command, context: write("new"), AssignPlatform)
        synchronise(is_deploy=True)
        forget_consumer("yard.assign_by_table")
        yard.declare(WORKER, lambda command, context: write("old"), AssignPlatform)
        synchronise()
        subscribed = Subscription.objects.filter(type=AssignPlatform.contract_name)
        assert list(subscribed.values_list("consumer", flat=True)) == ["yard.assign_by_table"]


class TestCheck:
    def test_wants_one_handler_here_or_a_service_that_has_it(self, yard: Yard) -> None:
        class ParkTrain(Command, version=1, name="tests.ParkTrain", handled_by="yard-service"):
            train: str

        def complaints() -> list[str]:
            return [error.msg for error in check_command_handlers() if "ParkTrain" in error.msg]

        try:
            assert complaints() == []
            yard.declare("yard.park", lambda command, context: None, ParkTrain)
            [complaint] = complaints()
            assert "handled_by 'yard-service', not here" in complaint
        finally:
            declared.pop("tests.ParkTrain")
