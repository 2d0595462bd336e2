"""Which trace a span is part of: of sagas, timeouts, replays, schedules, batches, and runs that came to nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from messaging import Batch, BatchContext, Command, Context, PermanentError, publish, recurring, reply, send, tracing
from messaging.ingest import ingest
from messaging.models import Message, Schedule
from messaging.operations import replay_dead_letters, resubmit_dead_letter
from messaging.scheduling import firing
from messaging.scheduling.recurring import forget_schedule
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.testing import harness, run_until_idle
from tests.factories import ANA, DoorsOpened, TrainArrived, arrive, dead
from tests.journeys import JourneyPlanned, SeatBooked, journeys
from tests.traced import attribute, context_of, linked, named, trace_of, without_parent

pytestmark = pytest.mark.django_db(transaction=True)
NIGHT = "station.night"


class Announce(Command, version=1):
    train: str


def message_of(type_: str) -> Message:
    return Message.objects.get(type=type_)


class TestRunAgain:
    def test_leaves_the_span_that_its_publications_hang_below(self, station: Any, spans: InMemorySpanExporter) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            publish(DoorsOpened(train=event.train))
            if event.train == "ICE 3":
                raise PermanentError

        station.declare(handler)
        arrive("ICE 1")
        arrive("ICE 2")
        arrive("ICE 3")
        run_until_idle()
        outcomes = [attribute(span, "signalbox.outcome") for span in named(spans, "process")]
        assert sorted(outcomes) == ["dead_lettered", "handled", "handled", "run_again", "run_again", "run_again"]
        for message in Message.objects.filter(type="tests.TrainArrived"):
            assert without_parent(spans, context_of(message)[0]) == ["publish tests.TrainArrived"]

    def test_is_no_word_of_an_at_most_once_run_which_has_one_span(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        station.declare(guarantee="at_most_once")
        arrive("ICE 1")
        run_until_idle()
        assert [attribute(span, "signalbox.outcome") for span in named(spans, "process")] == ["handled"]


class TestSaga:
    def test_has_a_span_for_each_transition_inside_the_handling(self, spans: InMemorySpanExporter) -> None:
        with journeys(), harness() as h:
            h.publish(JourneyPlanned(journey="j1"))
            h.run()
            h.publish(SeatBooked(journey="j1", seat="12A"))
            h.run()
        first, second = named(spans, "move tests.Journey")
        handled = {span.context.span_id: span for span in named(spans, "process tests.Journey") if span.context}
        assert [span.name for span in (first, second)] == [
            "move tests.Journey to awaiting_seat", "move tests.Journey to awaiting_meal",
        ]  # fmt: skip
        assert all(span.parent and span.parent.span_id in handled for span in (first, second))
        assert attribute(first, "signalbox.saga.state_before") is None
        assert attribute(second, "signalbox.saga.state_before") == "awaiting_seat"
        assert attribute(second, "signalbox.saga.correlation") == "j1"
        assert attribute(second, "signalbox.saga.completed") == "seat"

    def test_keeps_timeout_and_compensation_in_the_trace(self, spans: InMemorySpanExporter) -> None:
        with journeys(), harness() as h:
            h.publish(JourneyPlanned(journey="j1"))
            h.run()
            h.publish(SeatBooked(journey="j1", seat="12A"))
            h.run()
            planned = context_of(message_of("tests.JourneyPlanned"))[0]
            h.advance("20m")  # it was planned at the beginning that it must not last longer
        moves = [span for span in named(spans, "move") if trace_of(span) == planned]
        kinds = [attribute(span, "signalbox.saga.kind") for span in moves]
        assert kinds[:2] == ["message", "timeout"]
        assert "undo" in kinds
        assert attribute(moves[-1], "signalbox.saga.undone") == "seat"
        assert without_parent(spans, planned) == ["publish tests.JourneyPlanned"]


class TestCommand:
    def test_and_its_answer_are_spans_of_one_trace(self, station: Any, spans: InMemorySpanExporter) -> None:
        def answering(command: Announce, context: Context) -> None:
            reply(DoorsOpened(train=command.train))

        station.declare(answering, to=Announce)
        station.declare(lambda event, context: None, to=DoorsOpened, name="station.asks")
        with transaction.atomic():
            send(Announce(train="ICE 1"), reply_to="station.asks")
        run_until_idle()
        trace_id = context_of(message_of(Announce.contract_name))[0]
        [sent], [answered] = named(spans, f"send {Announce.contract_name}"), named(spans, "reply tests.DoorsOpened")
        assert {trace_of(sent), trace_of(answered)} == {trace_id}
        assert without_parent(spans, trace_id) == [f"send {Announce.contract_name}"]


class TestEventFromOutside:
    THEIRS = f"00-{'c' * 32}-{'d' * 16}-01"

    def ingest(self) -> Message:
        event = {
            "specversion": "1.0", "id": "1", "source": "/yard", "type": "tests.TrainArrived",
            "traceparent": self.THEIRS, "data": {"train": "ICE 1"},
        }  # fmt: skip
        ingest(json.dumps(event).encode(), content_type="application/cloudevents+json", source="yard", strict=True)
        return message_of("tests.TrainArrived")

    @pytest.mark.parametrize("is_traced", [True, False])
    def test_stays_in_the_trace_that_it_names(self, request: pytest.FixtureRequest, is_traced: bool) -> None:
        if is_traced:
            request.getfixturevalue("spans")
        assert context_of(self.ingest())[0] == int("c" * 32, 16)

    def test_is_linked_to_it_where_a_request_has_a_trace_already(self, spans: InMemorySpanExporter) -> None:
        with tracing.tracer().start_as_current_span("request") as request:
            message = self.ingest()
        assert context_of(message)[0] == request.get_span_context().trace_id
        [taken] = named(spans, "ingest tests.TrainArrived")
        assert linked(taken) == {(int("c" * 32, 16), int("d" * 16, 16))}


class TestReplay:
    def test_is_one_trace_of_its_own_linked_to_the_first(self, station: Any, spans: InMemorySpanExporter) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if context.run == 1:
                raise PermanentError("no such train")
            if context.attempt == 1:
                raise ValueError("no platform")
            publish(DoorsOpened(train=event.train))

        station.declare(handler)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        replay_dead_letters(ids=[dead(message_id).id], actor=ANA, reason="again")
        run_until_idle()
        original = context_of(Message.objects.get(id=message_id))
        [root] = named(spans, "replay")
        _, first, second = named(spans, "process")
        assert trace_of(root) != original[0]
        assert linked(root) == {original}
        assert {trace_of(first), trace_of(second)} == {trace_of(root)}
        assert context_of(message_of("tests.DoorsOpened"))[0] == trace_of(root)
        assert without_parent(spans, trace_of(root)) == [root.name]
        assert len([span for span in named(spans, "relay") if trace_of(span) == original[0]]) == 1

    def test_is_another_trace_also_where_no_spans_are_made(self, station: Any) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if context.run == 1:
                raise PermanentError
            publish(DoorsOpened(train=event.train))
            publish(DoorsOpened(train=event.train))

        station.declare(handler)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        replay_dead_letters(ids=[dead(message_id).id], actor=ANA, reason="again")
        run_until_idle()
        [one, other] = Message.objects.filter(type="tests.DoorsOpened")
        original = context_of(Message.objects.get(id=message_id))[0]
        assert context_of(one)[0] == context_of(other)[0] != original

    def test_of_an_edited_copy_is_linked_to_the_first(self, station: Any, spans: InMemorySpanExporter) -> None:
        def handler(event: TrainArrived, context: Context) -> None:
            if event.train == "ICE 1":
                raise PermanentError

        station.declare(handler)
        [message_id] = arrive("ICE 1")
        run_until_idle()
        resubmit_dead_letter(id=dead(message_id).id, body='{"train": "ICE 2"}', actor=ANA, reason="typing error")
        run_until_idle()
        original = context_of(Message.objects.get(id=message_id))
        [root] = named(spans, "resubmit tests.TrainArrived")
        *_, handled = named(spans, "process")
        assert root.parent is None
        assert linked(root) == {original}
        assert trace_of(handled) == trace_of(root) != original[0]


class TestSchedule:
    def test_begins_a_trace_with_each_firing_linked_to_the_one_before(self, spans: InMemorySpanExporter) -> None:
        declared = recurring(NIGHT, TrainArrived(train="NJ 1"), every="1h", missed="all")
        try:
            synchronise_schedules(is_deploy=True)
            row = Schedule.objects.get(name=NIGHT)
            assert row.next_at is not None
            Schedule.objects.filter(name=NIGHT).update(next_at=row.next_at - timedelta(hours=2))
            firing.fire_due()
            with transaction.atomic():
                firing.publish_by_hand(declared, by="ana")
        finally:
            forget_schedule(NIGHT)
        fired = named(spans, "publish tests.TrainArrived")
        assert len({trace_of(span) for span in fired}) == len(fired) == 3
        contexts = [context_of(each) for each in Message.objects.order_by("id")]
        assert [linked(span) for span in fired] == [set(), *({each} for each in contexts[:-1])]


class TestBatch:
    def test_follow_ups_stay_in_the_trace_of_the_message_at_hand(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        def handler(events: Sequence[TrainArrived], batch: BatchContext) -> None:
            for event, _ in batch.each(events):
                publish(DoorsOpened(train=event.train))

        station.declare(handler, batch=Batch(size=2, seconds=0))
        for train in ("ICE 1", "ICE 2"):
            arrive(train)
        run_until_idle()
        for cause in Message.objects.filter(type="tests.TrainArrived"):
            follow_up = Message.objects.get(causation_id=str(cause.id))
            assert context_of(follow_up)[0] == context_of(cause)[0]
            assert without_parent(spans, context_of(cause)[0]) == ["publish tests.TrainArrived"]
        whole, *each = sorted(named(spans, "process"), key=lambda span: attribute(span, "messaging.message.id") or "")
        assert linked(whole) == {context_of(each) for each in Message.objects.filter(type="tests.TrainArrived")}
        assert whole.context is not None
        assert {link for span in each for link in linked(span)} == {(whole.context.trace_id, whole.context.span_id)}

    def test_follow_ups_of_the_whole_hang_below_its_span(self, station: Any, spans: InMemorySpanExporter) -> None:
        def handler(events: Sequence[TrainArrived], batch: BatchContext) -> None:
            publish(DoorsOpened(train=f"{len(events)} trains"))

        station.declare(handler, batch=Batch(size=2, seconds=0))
        for train in ("ICE 1", "ICE 2"):
            arrive(train)
        run_until_idle()
        [published] = named(spans, "publish tests.DoorsOpened")
        [whole] = [span for span in named(spans, "process") if attribute(span, "messaging.batch.message_count")]
        assert published.parent == whole.context
        assert without_parent(spans, trace_of(whole)) == ["deliver station.announce"]

    def test_that_is_halved_leaves_no_publication_without_its_parent(
        self, station: Any, spans: InMemorySpanExporter
    ) -> None:
        def handler(events: Sequence[TrainArrived], batch: BatchContext) -> None:
            for event, _ in batch.each(events):
                publish(DoorsOpened(train=event.train))
                if event.train == "ICE 3":
                    raise PermanentError

        station.declare(handler, batch=Batch(size=4, seconds=0))
        for number in range(1, 5):
            arrive(f"ICE {number}")
        run_until_idle()
        for cause in Message.objects.filter(type="tests.TrainArrived"):
            assert without_parent(spans, context_of(cause)[0]) == ["publish tests.TrainArrived"]
