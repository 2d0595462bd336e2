"""The event store: appended with its messages or not at all, once per version; state at any past; projections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction
from pydantic import BaseModel

from messaging import Event, TransactionRequired, upcast
from messaging.consumers import forget_consumer
from messaging.context import use_correlation
from messaging.errors import ContractError, WrongVersion
from messaging.eventstore import ANY, Aggregate, Applied, Projection, append, building, projection, read_stream
from messaging.eventstore.projections import forget_projection
from messaging.models import Message, ProjectionBuild, ProjectionCheckpoint, StoredEvent, StreamSnapshot
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from tests.factories import arrive, elsewhere, relay

pytestmark = pytest.mark.django_db(transaction=True)


class TrackLaidInYards(Event, version=1, name="tests.TrackLaid"):
    yards: int


class TrackLaid(Event, version=2, name="tests.TrackLaid"):
    metres: int


class TrackLifted(Event, version=1):
    metres: int


@upcast(TrackLaid, from_version=1)
def _in_metres(data: dict[str, Any]) -> dict[str, Any]:
    return {"metres": data["yards"] * 9 // 10}


class Line(BaseModel):
    metres: int = 0


def fold(line: Line, event: Event) -> Line:
    if isinstance(event, TrackLaid):
        return Line(metres=line.metres + event.metres)
    assert isinstance(event, TrackLifted)
    return Line(metres=line.metres - event.metres)


LINES = Aggregate("line", state=Line, apply=fold)


def lay(line: str, *metres: int) -> int:
    with transaction.atomic():
        return LINES.append(line, *(TrackLaid(metres=each) for each in metres), expected=LINES.load(line).version)


class TestAppend:
    def test_publishes_in_the_same_transaction(self) -> None:
        assert lay("north", 10, 20) == 2
        stored = list(StoredEvent.objects.order_by("version").values_list("version", "message_id"))
        sent = {row.id: row for row in Message.objects.all()}
        assert [version for version, _ in stored] == [1, 2]
        assert [sent[id].headers["stream-version"] for _, id in stored] == ["1", "2"]
        assert {(row.key, row.headers["stream"]) for row in sent.values()} == {("line/north", "line/north")}

    def test_leaves_nothing_when_the_transaction_rolls_back(self) -> None:
        with suppress(ZeroDivisionError), transaction.atomic():
            LINES.append("north", TrackLaid(metres=10), expected=0)
            raise ZeroDivisionError
        assert not StoredEvent.objects.exists()
        assert not Message.objects.exists()
        assert lay("north", 10) == 1

    def test_refuses_a_version_that_is_not_the_streams(self) -> None:
        lay("north", 10)
        for expected in (0, 2):
            with pytest.raises(WrongVersion, match="at version 1"), transaction.atomic():
                LINES.append("north", TrackLaid(metres=10), expected=expected)
        assert LINES.load("north").version == 1

    def test_lets_one_of_two_win_that_decided_on_the_same_version(self) -> None:
        lay("north", 10)
        seen = LINES.load("north").version

        def late() -> int:
            with transaction.atomic():
                return LINES.append("north", TrackLaid(metres=1), expected=seen)

        with transaction.atomic():
            LINES.append("north", TrackLaid(metres=5), expected=seen)
            waiting = elsewhere(late)  # waits for this transaction, and then finds that it came too late
        with pytest.raises(WrongVersion):
            waiting.result(30)
        assert LINES.load("north").state.metres == 15

    def test_lets_one_of_two_start_a_stream(self) -> None:
        def late() -> int:
            with transaction.atomic():
                return LINES.append("north", TrackLaid(metres=1), expected=0)

        with transaction.atomic():
            LINES.append("north", TrackLaid(metres=5), expected=0)
            waiting = elsewhere(late)
        with pytest.raises(WrongVersion):
            waiting.result(30)
        assert [one.version for one in read_stream("line/north")] == [1]

    def test_takes_any_version_where_the_caller_does_not_mind(self) -> None:
        for metres in (1, 2):
            with transaction.atomic():
                version = append("line/north", [TrackLaid(metres=metres)], expected=ANY)
        assert version == 2

    def test_needs_a_transaction_and_a_stream_with_a_name(self) -> None:
        with pytest.raises(TransactionRequired):
            append("line/north", [TrackLaid(metres=1)], expected=0)
        for name in ("north", "/north", "line/", "line/" + "x" * 200):
            with pytest.raises(ContractError, match="category/id"), transaction.atomic():
                append(name, [TrackLaid(metres=1)], expected=0)

    def test_keeps_flow_and_cause_as_messages_do(self, station: Any) -> None:
        def extend(event: Any, context: Any) -> None:
            LINES.append("north", TrackLaid(metres=1), expected=ANY)

        station.declare(extend)
        with use_correlation("flow-7"):
            [cause] = arrive("ICE 1")
        run_until_idle()
        [one] = read_stream("line/north")
        assert (one.correlation_id, one.causation_id) == ("flow-7", str(cause))

    def test_cannot_be_undone_by_anyone(self) -> None:
        lay("north", 10)
        for change in ("UPDATE messaging_storedevent SET type = 'x'", "DELETE FROM messaging_storedevent"):
            with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
                cursor.execute(change)


class TestAggregate:
    def test_is_at_version_0_before_its_first_event(self) -> None:
        assert (LINES.load("north").version, LINES.load("north").state) == (0, Line())

    def test_shows_its_state_as_of_a_version_and_a_time(self) -> None:
        lay("north", 10, 20)
        [before] = [one.recorded_at for one in read_stream("line/north") if one.version == 2]
        lay("north", 30)
        assert LINES.load("north", at_version=1).state.metres == 10
        assert LINES.load("north", at=before).state.metres == 30
        assert LINES.load("north", at=before - timedelta(days=1)).version == 0
        assert LINES.load("north").state.metres == 60

    def test_reads_old_events_by_todays_contract(self) -> None:
        with transaction.atomic():
            append("line/north", [TrackLaidInYards(yards=100)], expected=0)
        assert LINES.load("north").state.metres == 90

    def test_loads_from_a_snapshot_what_the_events_say(self) -> None:
        lines = Aggregate("line", state=Line, apply=fold, snapshot_every=3)
        for metres in range(1, 8):
            with transaction.atomic():
                lines.append("north", TrackLaid(metres=metres), expected=metres - 1)
        assert StreamSnapshot.objects.get().version == 6
        StreamSnapshot.objects.update(state={"metres": 1000})  # to see that it is used
        assert lines.load("north").state.metres == 1007
        assert lines.load("north", at_version=5).state.metres == 15
        assert lines.load("north", at=datetime.max.replace(tzinfo=UTC)).state.metres == 28

    def test_does_not_use_the_snapshot_of_another_schema(self) -> None:
        with transaction.atomic():
            Aggregate("line", state=Line, apply=fold, snapshot_every=1).append("north", TrackLaid(metres=1), expected=0)
        StreamSnapshot.objects.update(state={"metres": 1000})
        assert Aggregate("line", state=Line, apply=fold, schema=2).load("north").state.metres == 1

    def test_appends_what_is_decided_on_its_state(self) -> None:
        lay("north", 10)
        with transaction.atomic():
            LINES.transact("north", lambda line: TrackLifted(metres=line.metres))
            assert LINES.transact("north", lambda line: None) == 2
        assert LINES.load("north").state.metres == 0


def mark(event: Event, applied: Applied) -> None:
    """Write down generation, stream and version: a second time would violate the unique name."""
    Group.objects.create(name=f"{applied.generation}:{applied.stream}:{applied.version}")


def wipe(generation: int) -> None:
    Group.objects.filter(name__startswith=f"{generation}:").delete()


def marks(generation: int) -> list[str]:
    rows = Group.objects.filter(name__startswith=f"{generation}:").order_by("name").values_list("name", flat=True)
    return [name.partition(":")[2] for name in rows]


class Yard:
    """Declares a projection, in this release or the next."""

    name = "tests.lengths"

    def declare(self, apply: Any = mark, *, version: int = 1) -> Projection:
        self.close()
        declared = projection(TrackLaid, TrackLifted, category="line", forget=wipe, version=version, name=self.name)(
            apply
        )
        synchronise(is_deploy=True)
        return declared

    def close(self) -> None:
        forget_consumer(self.name)
        forget_projection(self.name)


@pytest.fixture
def yard() -> Iterator[Yard]:
    yard = Yard()
    yield yard
    yard.close()


def build() -> None:
    while building.advance_projections(seconds=60):
        pass


class TestProjection:
    def test_is_built_from_history_when_it_is_added_later(self, yard: Yard) -> None:
        lay("north", 1, 2)
        lay("south", 3)
        run_until_idle()
        lengths = yard.declare()
        assert lengths.generation == 0
        build()
        assert lengths.generation == 1
        assert marks(1) == ["line/north:1", "line/north:2", "line/south:1"]

    def test_hears_of_new_events_as_a_consumer(self, yard: Yard) -> None:
        yard.declare()
        build()
        lay("north", 1)
        lay("north", 2)
        run_until_idle()
        assert marks(1) == ["line/north:1", "line/north:2"]

    def test_misses_and_repeats_nothing_that_is_appended_during_the_build(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(building, "STREAMS_PER_STEP", 1)
        for name in "bdf":
            lay(name, 1)
        lengths = yard.declare()
        building.begin(lengths)
        for name in "ace":  # before, at and behind the cursor; delivered late, early and not at all until the end
            building._step(lengths)
            lay(name, 1)
            lay("b", 1)
            lay("f", 1)
            if name == "c":
                run_until_idle()
        build()
        run_until_idle()
        expected = {"a": 1, "b": 4, "c": 1, "d": 1, "e": 1, "f": 4}
        assert marks(1) == [f"line/{name}:{n}" for name, count in expected.items() for n in range(1, count + 1)]

    def test_stays_readable_while_a_new_version_is_built(self, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(building, "STREAMS_PER_STEP", 1)
        lengths = yard.declare()
        build()
        lay("a", 1)
        lay("b", 1)
        run_until_idle()
        lengths = yard.declare(version=2)
        building.begin_if_needed(lengths)
        building._step(lengths)
        lay("a", 1)
        run_until_idle()
        assert lengths.generation == 1
        assert marks(1) == ["line/a:1", "line/a:2", "line/b:1"]
        build()
        assert lengths.generation == 2
        assert marks(2) == marks(1)
        building.forget_retired(lengths, older_than=timedelta(0))
        assert marks(1) == []
        assert not ProjectionCheckpoint.objects.filter(generation=1).exists()

    def test_applies_a_stream_in_order_whatever_comes_first(self, yard: Yard) -> None:
        seen: list[int] = []

        def note(event: Event, applied: Applied) -> None:
            seen.append(applied.version)

        lengths = yard.declare(note)
        build()
        lay("north", 1, 2, 3)
        with transaction.atomic():
            lengths.catch_up(1, "line/north")
            lengths.catch_up(1, "line/north")
        run_until_idle()
        assert seen == [1, 2, 3]

    def test_is_given_an_event_once_by_two_deliveries_at_a_time(self, yard: Yard) -> None:
        lengths = yard.declare()
        build()
        lay("north", 1)

        def second() -> int:
            with transaction.atomic():
                return lengths.catch_up(1, "line/north")

        with transaction.atomic():
            assert lengths.catch_up(1, "line/north") == 1
            waiting = elsewhere(second)
        assert waiting.result(30) == 0
        assert marks(1) == ["line/north:1"]

    def test_keeps_its_old_rows_and_says_why_when_a_build_fails(self, yard: Yard) -> None:
        lay("north", 1)
        yard.declare()
        build()

        def broken(event: Event, applied: Applied) -> None:
            raise ValueError("no such gauge")

        lengths = yard.declare(broken, version=2)
        building.advance_projections()
        row = ProjectionBuild.objects.get(state="building")
        assert row.last_error == "ValueError: no such gauge"
        assert (lengths.generation, marks(1)) == (1, ["line/north:1"])
        yard.declare(version=3)
        build()
        assert marks(lengths.generation) == ["line/north:1"]

    def test_holds_a_stream_at_an_event_that_fails(self, yard: Yard) -> None:
        def picky(event: Event, applied: Applied) -> None:
            if isinstance(event, TrackLifted):
                raise LookupError("nothing to lift")
            mark(event, applied)

        yard.declare(picky)
        build()
        with transaction.atomic():
            LINES.append("north", TrackLaid(metres=1), TrackLifted(metres=1), TrackLaid(metres=1), expected=0)
        lay("south", 1)
        relay()
        run_until_idle()
        assert marks(1) == ["line/south:1"]

    def test_leaves_alone_what_was_published_without_a_stream(self, yard: Yard) -> None:
        from messaging import publish

        yard.declare()
        build()
        with transaction.atomic():
            publish(TrackLaid(metres=1))
        run_until_idle()
        assert marks(1) == []
