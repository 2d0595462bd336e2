"""A committed publish exists, a rolled-back one never did, and every envelope says where it comes from."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from messaging import Context, ContractError, TransactionRequired, publish, publish_many, use_correlation
from messaging.models import Message, OutboxEntry
from messaging.testing import run_until_idle
from tests.factories import ANNOUNCE, CLEAN, DoorsOpened, TrainArrived, arrive, ledger, outcomes, trains_of, write

pytestmark = pytest.mark.django_db(transaction=True)


def publish_and_roll_back(train: str) -> None:
    with suppress(IntegrityError), transaction.atomic():
        publish(TrainArrived(train=train))
        raise IntegrityError


class TestPublish:
    def test_stores_the_message_with_its_outbox_row(self) -> None:
        [message_id] = arrive("ICE 1", key=7, headers={"shift": "night"}, source="platform", correlation_id="day-1")
        message = Message.objects.get(id=message_id)
        assert (message.type, message.version, message.kind) == ("tests.TrainArrived", 1, "domain")
        assert (message.key, message.source, message.correlation_id) == ("7", "platform", "day-1")
        assert message.headers == {"shift": "night"}
        assert json.loads(bytes(message.body)) == {"train": "ICE 1"}
        assert OutboxEntry.objects.get().message_id == message_id

    def test_is_refused_without_a_transaction(self) -> None:
        with pytest.raises(TransactionRequired, match=r"transaction\.atomic"):
            publish(TrainArrived(train="ICE 1"))
        assert not Message.objects.exists()

    def test_is_never_seen_when_the_transaction_rolls_back(self, station: Any) -> None:
        station.declare()
        publish_and_roll_back("ICE 1")
        run_until_idle()
        assert (ledger(), Message.objects.count(), OutboxEntry.objects.count()) == ([], 0, 0)

    def test_goes_with_the_savepoint_it_was_published_in(self, station: Any) -> None:
        station.declare()
        with transaction.atomic():
            publish(TrainArrived(train="ICE 1"))
            publish_and_roll_back("ICE 2")
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_stores_many_with_one_call_and_nothing_for_none(self) -> None:
        with transaction.atomic():
            ids = publish_many(TrainArrived(train=f"RE {n}") for n in range(250))
            assert publish_many([]) == []
        assert len(set(ids)) == Message.objects.count() == OutboxEntry.objects.count() == 250
        assert ids == sorted(ids)

    @pytest.mark.parametrize(
        ("envelope", "field"),
        [
            ({"key": "x" * 201}, "key"),
            ({"key": ""}, "key"),
            ({"key": "a\x00b"}, "key"),
            ({"correlation_id": "\ud800"}, "correlation_id"),
            ({"source": "s" * 201}, "source"),
            ({"tenant": "t" * 201}, "tenant"),
            ({"tenant": "t" * 101}, "tenant"),
            ({"headers": {"a": "b" * 4001}}, "headers.a"),
            ({"headers": {"": "b"}}, "headers"),
            ({"headers": {"a": 5}}, "headers.a"),
        ],
    )
    def test_refuses_an_envelope_that_cannot_be_stored(self, envelope: dict[str, Any], field: str) -> None:
        with pytest.raises(ContractError) as refused, transaction.atomic():
            publish(TrainArrived(train="ICE 1"), **envelope)
        assert refused.value.field == field
        assert not Message.objects.exists()

    @pytest.mark.parametrize("train", ["nul \x00", "half \ud800", "x" * 1_100_000])
    def test_refuses_a_body_that_cannot_be_stored(self, train: str) -> None:
        with pytest.raises(ContractError, match=r"tests\.TrainArrived"), transaction.atomic():
            publish(TrainArrived.model_construct(train=train))
        assert not Message.objects.exists()

    def test_keeps_an_escaped_nul_that_is_only_text(self, station: Any) -> None:
        station.declare()
        arrive("a \\u0000 written out")
        run_until_idle()
        assert ledger() == ["a \\u0000 written out"]

    def test_refuses_what_is_no_event(self) -> None:
        with pytest.raises(ContractError, match="not dict"), transaction.atomic():
            publish({"train": "ICE 1"})


class TestCorrelation:
    def test_begins_with_the_message_when_nobody_named_a_flow(self) -> None:
        [message_id] = arrive("ICE 1")
        message = Message.objects.get(id=message_id)
        assert (message.correlation_id, message.causation_id) == (str(message_id), None)

    def test_is_taken_from_the_surrounding_flow(self) -> None:
        with use_correlation("day-1"):
            [inside] = arrive("ICE 1")
        [outside] = arrive("ICE 2")
        assert Message.objects.get(id=inside).correlation_id == "day-1"
        assert Message.objects.get(id=outside).correlation_id == str(outside)

    def test_is_inherited_by_follow_ups_with_cause_trace_and_tenant(self, station: Any) -> None:
        def open_doors(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train=event.train))

        station.declare(open_doors)
        [first] = arrive("ICE 1", correlation_id="day-1", tenant="north")
        run_until_idle()
        cause, effect = Message.objects.get(id=first), Message.objects.get(type="tests.DoorsOpened")
        assert (effect.correlation_id, effect.causation_id) == ("day-1", str(first))
        assert effect.tenant == "north"
        assert effect.traceparent[3:35] == cause.traceparent[3:35]
        assert effect.traceparent[36:52] != cause.traceparent[36:52]


class TestFollowUps:
    """They exist if and only if the handler's transaction committed."""

    def test_are_not_published_by_a_handler_that_fails(self, station: Any) -> None:
        def open_doors(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train=event.train))
            if event.train == "ICE 13":
                raise ValueError("stuck")

        station.declare(open_doors)
        arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        assert trains_of("tests.DoorsOpened") == ["ICE 12", "ICE 14"]

    def test_go_with_the_handlers_savepoint(self, station: Any) -> None:
        def open_doors(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train=f"{event.train} left"))
            try:
                with transaction.atomic():
                    publish(DoorsOpened(train=f"{event.train} right"))
                    raise ValueError("stuck")
            except ValueError:
                write(f"{event.train} right door is stuck")

        station.declare(open_doors)
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        assert trains_of("tests.DoorsOpened") == ["ICE 1 left", "ICE 2 left"]
        assert ledger() == ["ICE 1 right door is stuck", "ICE 2 right door is stuck"]

    def test_of_a_savepoint_that_holds_are_kept(self, station: Any) -> None:
        def open_doors(event: TrainArrived, context: Context) -> None:
            with transaction.atomic():
                publish(DoorsOpened(train=event.train))

        station.declare(open_doors)
        station.declare(lambda event, context: write(event.train), to=DoorsOpened, name=CLEAN)
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        assert ledger() == ["ICE 1", "ICE 2"]

    def test_go_when_the_commit_itself_fails(self, station: Any) -> None:
        def open_doors(event: TrainArrived, context: Context) -> None:
            from django.contrib.auth.models import Group, Permission

            publish(DoorsOpened(train=event.train))
            if event.train == "ICE 13":  # a reference to nothing, checked at COMMIT
                Group.permissions.through.objects.create(
                    group_id=999_999, permission_id=Permission.objects.values_list("id", flat=True)[0]
                )

        station.declare(open_doors)
        [_, bad, _] = arrive("ICE 12", "ICE 13", "ICE 14")
        run_until_idle()
        assert trains_of("tests.DoorsOpened") == ["ICE 12", "ICE 14"]
        assert outcomes(bad)[:1] == ["retried"]
        assert outcomes(consumer=ANNOUNCE).count("handled") == 2
