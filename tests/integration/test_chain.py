"""The audit chain: whoever changes, removes, slips in or cuts off a record is found out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from messaging import chain
from messaging.database import store
from messaging.ids import id_at, new_id
from messaging.models import (
    Attempt,
    AuditRecord,
    ChainAnchor,
    ChainCheck,
    ChainHead,
    SagaInstance,
    SagaTransition,
    Seal,
    UnsealedRecords,
)
from messaging.operations import pause_consumer, resume_consumer
from messaging.pruning import prune
from messaging.settings import options
from messaging.testing import harness, run_until_idle
from tests import rows
from tests.factories import ANA, ANNOUNCE, arrive, elsewhere
from tests.journeys import JourneyPlanned, SeatBooked, SeatRefused, journeys

pytestmark = pytest.mark.django_db(transaction=True)
Use = Callable[[Path], None]
TABLES = {"attempt": "messaging_attempt", "audit": "messaging_auditrecord"}


@pytest.fixture
def history(station: Any) -> None:
    """Three attempts, one of them failed, and two operators' actions; sealed in two batches."""

    def handler(event: Any, context: Any) -> None:
        if context.attempt == 1 and event.train == "ICE 2":
            raise ValueError(event.train)

    station.declare(handler)
    arrive("ICE 1", "ICE 2")
    run_until_idle()
    chain.seal_everything()
    pause_consumer(name=ANNOUNCE, actor=ANA, reason="works")
    resume_consumer(name=ANNOUNCE, actor=ANA)
    chain.seal_everything()


@pytest.fixture
def anchored_at(settings: Any) -> Iterator[Use]:
    """Set the file that anchors are exported to."""

    def use(path: Path) -> None:
        settings.MESSAGING = {**settings.MESSAGING, "anchor_file": str(path)}
        options.cache_clear()

    yield use
    options.cache_clear()


def forge(sql: str, *parameters: Any) -> None:
    """Run a statement as somebody who owns the tables and has taken the triggers off."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(sql, parameters)
            return
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {name}")
        cursor.execute(sql, [each.hex if isinstance(each, UUID) else each for each in parameters])
        for _, create in triggers:
            cursor.execute(create)


def problems() -> str:
    return " / ".join(chain.verify_chain().problems)


@pytest.mark.usefixtures("history")
class TestChain:
    def test_holds_over_what_nobody_touched(self) -> None:
        report = chain.verify_chain()
        assert report.problems == ()
        assert report.records == Attempt.objects.count() + AuditRecord.objects.count() == 5
        assert report.unsealed == 0

    def test_covers_what_came_after_the_last_seal_later(self) -> None:
        arrive("ICE 3")
        run_until_idle()
        assert chain.verify_chain().unsealed == 1
        assert chain.seal_everything() == 1
        assert chain.verify_chain().records == 6

    def test_finds_a_changed_attempt(self) -> None:
        forged = Attempt.objects.filter(outcome="retried").get()
        forge("UPDATE messaging_attempt SET outcome = 'handled' WHERE id = %s", forged.id)
        assert problems() == f"attempt {forged.id} was changed (seal 1)"

    def test_finds_a_changed_audit_record(self) -> None:
        forged = AuditRecord.objects.get(action="consumer.pause")
        forge("UPDATE messaging_auditrecord SET actor = 'eve' WHERE id = %s", forged.id)
        assert f"audit {forged.id} was changed" in problems()

    @pytest.mark.parametrize("kind", TABLES)
    def test_finds_a_removed_record(self, kind: str) -> None:
        gone = (Attempt if kind == "attempt" else AuditRecord).objects.order_by("id")[0]
        forge(f"DELETE FROM {TABLES[kind]} WHERE id = %s", gone.id)
        assert f"{kind} {gone.id} was removed" in problems()

    def test_finds_a_record_that_was_slipped_in(self) -> None:
        model = Attempt.objects.order_by("id")[0]
        model.pk = new_id()
        model.save(force_insert=True)
        assert problems() == f"attempt {model.pk} was slipped in: no seal knows it"

    def test_finds_a_changed_seal(self) -> None:
        forge("UPDATE messaging_seal SET content_hash = %s WHERE number = 1", "f" * 64)
        assert "attempt seal 1 was changed" in problems()

    def test_finds_a_seal_taken_out_of_the_middle(self) -> None:
        arrive("ICE 3")
        run_until_idle()
        chain.seal_everything()
        forge("DELETE FROM messaging_seal WHERE kind = %s AND number = 1", "attempt")
        assert "seals 1 to 1 of attempts are missing" in problems()

    def test_finds_a_tail_that_was_cut_off(self) -> None:
        forge("DELETE FROM messaging_seal WHERE kind = %s AND number = 1", "audit")
        assert "they were cut off or replaced" in problems()

    def test_finds_a_tail_cut_off_with_its_head_by_an_anchor_outside(self, tmp_path: Path, anchored_at: Use) -> None:
        anchors = tmp_path / "anchors.jsonl"
        anchored_at(anchors)
        chain.export_anchors()
        forge("DELETE FROM messaging_seal WHERE kind = %s", "audit")
        forge("DELETE FROM messaging_auditrecord WHERE actor = %s", "ana")
        ChainHead.objects.filter(kind="audit").delete()
        ChainAnchor.objects.all().delete()
        assert problems() == ""  # everything inside agrees
        report = chain.verify_chain(anchors=chain.read_anchors(anchors))
        assert report.problems[0] == "audit seal 1 was anchored, but they end at 0: they were cut off"

    def test_finds_a_chain_written_anew_by_an_anchor_outside(self, tmp_path: Path, anchored_at: Use) -> None:
        anchors = tmp_path / "anchors.jsonl"
        anchored_at(anchors)
        chain.export_anchors()
        forge("DELETE FROM messaging_seal")
        ChainHead.objects.all().delete()
        ChainAnchor.objects.all().delete()
        forge("UPDATE messaging_auditrecord SET actor = %s", "eve")
        for kind, model in (("attempt", Attempt), ("audit", AuditRecord)):
            ids = sorted(model.objects.values_list("id", flat=True))
            UnsealedRecords.objects.create(kind=kind, ids=b"".join(each.bytes for each in ids))
        chain.seal_everything()
        assert problems() == ""
        assert not chain.verify_chain(anchors=chain.read_anchors(anchors)).is_sound

    def test_has_no_fork_when_two_seal_at_once(self) -> None:
        arrive("ICE 3")
        run_until_idle()
        others = [elsewhere(chain.seal_everything) for _ in range(2)]
        assert sum(other.result(timeout=30) for other in others) == 1
        assert chain.verify_chain().problems == ()

    def test_cannot_be_changed_with_the_triggers_on(self) -> None:
        from django.db import DatabaseError

        for change in (lambda: Seal.objects.update(hash="x"), lambda: Seal.objects.all().delete()):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                change()


class TestSagas:
    @pytest.fixture
    def moves(self) -> list[SagaTransition]:
        """The history of a saga that made two moves, sealed."""
        with journeys(), harness() as h:
            for message in (JourneyPlanned(journey="j1"), SeatBooked(journey="j1", seat="12A")):
                h.publish(message)
                h.run()
        chain.seal_everything()
        return list(SagaTransition.objects.order_by("number"))

    def test_have_each_move_sealed_once(self, moves: list[SagaTransition]) -> None:
        assert chain.verify_chain().problems == ()
        assert sum(Seal.objects.filter(kind="saga").values_list("count", flat=True)) == len(moves) == 2

    @pytest.mark.parametrize("column", ["state_after", "changes", "actor"])
    def test_are_found_out_when_a_move_is_changed(self, moves: list[SagaTransition], column: str) -> None:
        value = "'{}'" if column == "changes" else "'confirmed'"
        forge(f"UPDATE messaging_sagatransition SET {column} = {value} WHERE id = %s", moves[1].id)
        assert f"saga {moves[1].id} was changed" in problems()

    def test_are_found_out_when_a_move_is_removed(self, moves: list[SagaTransition]) -> None:
        forge("DELETE FROM messaging_sagatransition WHERE id = %s", moves[1].id)
        assert f"saga {moves[1].id} was removed" in problems()

    def test_are_found_out_when_a_move_is_slipped_in(self, moves: list[SagaTransition]) -> None:
        forged = moves[1]
        forged.pk, forged.number, forged.state_before = new_id(), 3, forged.state_after
        forged.save(force_insert=True)
        assert problems() == f"saga {forged.pk} was slipped in: no seal knows it"

    def test_are_found_out_when_their_last_moves_are_cut_off_with_the_seal(self, moves: list[SagaTransition]) -> None:
        forge("DELETE FROM messaging_sagatransition WHERE saga = %s", moves[0].saga)
        forge("DELETE FROM messaging_seal WHERE kind = %s", "saga")
        assert "they were cut off or replaced" in problems()

    def test_have_moves_of_before_the_upgrade_sealed_too(self, moves: list[SagaTransition]) -> None:
        from importlib import import_module

        from django.apps import apps

        forge("DELETE FROM messaging_seal WHERE kind = %s", "saga")
        ChainHead.objects.filter(kind="saga").delete()
        assert "no seal knows it" in problems()
        import_module("messaging.migrations.0014_seal_sagas").note_unsealed(apps, None)
        assert chain.seal_everything() == 2
        assert problems() == ""

    def test_leave_with_their_seals_when_they_ended_long_ago(self) -> None:
        with journeys(), harness() as h:
            h.publish(JourneyPlanned(journey="old"))
            h.run()
            h.publish(SeatRefused(journey="old"))
            h.run()
            h.publish(JourneyPlanned(journey="j1"))
            h.run()
        old = SagaInstance.objects.get(correlation="old")
        age_of(old)
        chain.seal_everything()
        prune()
        assert set(SagaTransition.objects.values_list("correlation", flat=True)) == {"j1"}
        assert not SagaInstance.objects.filter(correlation="old").exists()
        assert ChainAnchor.objects.get(kind="saga").purpose == "retention"
        assert problems() == ""
        forge("DELETE FROM messaging_sagatransition WHERE correlation = %s", "j1")
        assert "was removed" in problems()


def age_of(row: SagaInstance) -> None:
    """Make a saga and its moves sixty days old, before they are sealed."""
    from messaging.database.partitions import ensure_partitions

    then = store().now() - timedelta(days=60)
    ensure_partitions(today=then, days_ahead=0)
    for move in SagaTransition.objects.filter(instance=row.id).order_by("number"):
        forge("UPDATE messaging_sagatransition SET id = %s WHERE id = %s", rows.id_of(then), move.id)
    SagaInstance.objects.filter(id=row.id).update(ended_at=then, started_at=then)
    forge("DELETE FROM messaging_unsealedrecords")
    for move_id in SagaTransition.objects.values_list("id", flat=True):
        UnsealedRecords.objects.create(kind="saga", ids=move_id.bytes)
    for attempt_id in Attempt.objects.values_list("id", flat=True):
        UnsealedRecords.objects.create(kind="attempt", ids=attempt_id.bytes)


class TestRetention:
    def test_keeps_the_anchor_of_what_it_prunes(self, station: Any) -> None:
        station.declare()
        old = old_attempt(days=60)
        arrive("ICE 1")
        run_until_idle()
        prune()
        assert not Attempt.objects.filter(id=old).exists()
        assert not Seal.objects.filter(kind="attempt", number=1).exists()
        assert ChainAnchor.objects.get().number == 1
        assert problems() == ""
        forge("DELETE FROM messaging_attempt")
        assert "was removed" in problems()

    def test_keeps_what_operators_did_longer(self, station: Any) -> None:
        station.declare()
        old_attempt(days=60)
        pause_consumer(name=ANNOUNCE, actor=ANA, reason="works")
        forged_age = id_at(store().now() - timedelta(days=60))
        forge("UPDATE messaging_auditrecord SET id = %s", forged_age)
        prune()
        assert AuditRecord.objects.get().id == forged_age

    def test_leaves_a_link_where_an_old_record_was_sealed_late(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        run_until_idle()
        chain.seal_everything()
        old_attempt(days=60)
        prune()
        assert Seal.objects.count() == 2
        assert problems() == ""


class TestAnchor:
    @pytest.mark.usefixtures("history")
    def test_is_exported_once_for_each_state_of_the_chain(self, tmp_path: Path, anchored_at: Use) -> None:
        anchored_at(tmp_path / "deep" / "anchors.jsonl")
        first = chain.export_anchors()
        assert [anchor.kind for anchor in first] == ["attempt", "audit"]
        assert chain.export_anchors() == []
        assert chain.read_anchors(tmp_path / "deep" / "anchors.jsonl") == first

    def test_is_not_exported_for_an_empty_chain(self) -> None:
        assert chain.export_anchors() == []


@pytest.mark.usefixtures("history")
class TestCommand:
    def test_verifies_and_keeps_what_it_found(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("audit", "verify", "--json")
        printed = json.loads(capsys.readouterr().out)
        assert printed["is_sound"]
        assert printed["records"] == 5
        assert ChainCheck.objects.get().problems == []

    def test_ends_with_1_and_names_what_is_wrong(self, capsys: pytest.CaptureFixture[str]) -> None:
        forge("UPDATE messaging_auditrecord SET actor = %s", "eve")
        with pytest.raises(SystemExit):
            call_command("audit", "verify")
        assert "was changed" in capsys.readouterr().out

    def test_seals_and_exports(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        call_command("audit", "seal")
        call_command("audit", "anchor")
        line = capsys.readouterr().out.splitlines()[-1]
        (tmp_path / "a.jsonl").write_text(line)
        call_command("audit", "verify", "--anchors", str(tmp_path / "a.jsonl"))

    @pytest.mark.parametrize("text", ["nonsense", "[]", '{"number": 1}'])
    def test_names_a_line_that_is_no_anchor(self, tmp_path: Path, text: str) -> None:
        from django.core.management.base import CommandError

        (tmp_path / "a.jsonl").write_text(text)
        with pytest.raises(CommandError, match="line 1, is no anchor"):
            call_command("audit", "verify", "--anchors", str(tmp_path / "a.jsonl"))


def old_attempt(*, days: int) -> UUID:
    """Store a handled message of long ago, sealed now."""
    from messaging.database.partitions import ensure_partitions

    at = store().now() - timedelta(days=days)
    ensure_partitions(today=at, days_ahead=0)
    attempt = rows.attempt(rows.message(age=days * 86_400), ANNOUNCE)
    UnsealedRecords.objects.create(kind="attempt", ids=attempt.id.bytes)
    chain.seal_everything()
    return attempt.id
