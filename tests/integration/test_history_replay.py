"""Replays of history: in shadow nothing changes and the differences are exact; for real each message is sent once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction

from messaging import Context, PermanentError, cancel_scheduled, publish
from messaging.consumers import Consumer, declare, find_consumer
from messaging.database import store
from messaging.errors import OperationRefused
from messaging.ids import id_at
from messaging.models import (
    Attempt,
    AuditRecord,
    HistoryReplay,
    Message,
    OutboxEntry,
)
from messaging.operations import abort_replay, replay_history, resume_replay
from messaging.queries.replays import ReplayRow, get_replay
from messaging.replays import advancing
from messaging.subscriptions import synchronise
from messaging.testing import run_until_idle
from tests.api import Api, problem
from tests.factories import ANA, ANNOUNCE, CLEAN, EVE, DoorsOpened, arrive, ledger, write
from tests.pages import signed_in
from tests.shop import draft, post

pytestmark = pytest.mark.django_db(transaction=True)


def begin(mode: str = "shadow", consumer: str = ANNOUNCE, **given: Any) -> UUID:
    newest = Message.objects.order_by("-id").values_list("id", flat=True).first()
    while newest and id_at(store().now()) <= newest:
        pass  # a range ends at a millisecond, and ids of one process may be a little ahead of its clock
    since = store().now() - timedelta(days=1)
    values = {"since": since, "until": store().now() + timedelta(days=1), "rate": 1000, "actor": ANA, "reason": "a try"}
    return replay_history(consumer=consumer, mode=mode, **{**values, **given})


def finish(id: UUID) -> ReplayRow:
    for _ in range(100):
        HistoryReplay.objects.filter(id=id).update(next_at=store().now() - timedelta(seconds=1))
        advancing.advance_replays()
        row = get_replay(id)
        assert row is not None
        if row.state != "running":
            return row
    raise AssertionError(f"The replay does not end: {row}")


def picture() -> dict[str, int]:
    """Count the rows of every table but those that tell of the replay itself."""
    own = {"messaging_historyreplay", "messaging_auditrecord", "messaging_unsealedrecords"}
    tables = sorted(set(connection.introspection.table_names()) - own)
    with connection.cursor() as cursor:
        counts = {}
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")
            counts[table] = cursor.fetchone()[0]
    return counts


def twice(event: Any, context: Context) -> None:
    """A changed consumer: two lines, one corrected, one taken away, a follow-up; one train is refused."""
    if event.train == "ICE 2":
        raise PermanentError("no such platform")
    write(event.train)
    write(event.train)
    Group.objects.filter(name__startswith=event.train).order_by("id").first().delete()  # type: ignore[union-attr]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE auth_group SET name = name WHERE name LIKE %s", [f"{event.train}/%"])
    publish(DoorsOpened(train=event.train))


class TestShadow:
    def test_changes_nothing_and_says_what_would_have_changed(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2", "ICE 3")
        run_until_idle()
        station.declare(twice)
        before = picture()
        row = finish(begin())
        assert picture() == before
        assert (row.state, row.looked_at, row.done) == ("done", 3, 3)
        report = row.report
        assert report["outcomes"] == {"handled": 2, "failed": 1}
        # Each of the two: two lines in, the recorded one out, the two new ones touched.
        assert report["tables"] == {"auth_group": [4, 4, 2]}
        assert report["published"] == {DoorsOpened.contract_name: 2}
        assert report["differences"] == {
            f"publishes 1 {DoorsOpened.contract_name} instead of 0": 2,
            "failed instead of handled": 1,
        }
        assert report["errors"] == {"PermanentError: no such platform": 1}

    def test_finds_no_difference_where_nothing_changed(self, station: Any) -> None:
        def pass_on(event: Any, context: Context) -> None:
            write(event.train)
            publish(DoorsOpened(train=event.train), key=event.train)

        def other(event: Any, context: Context) -> None:
            publish(DoorsOpened(train="another consumer's"))

        station.declare(pass_on)
        station.declare(other, name=CLEAN)
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        assert finish(begin()).differing == 0

    def test_counts_what_a_savepoint_published(self, station: Any) -> None:
        def nested(event: Any, context: Context) -> None:
            with transaction.atomic():
                publish(DoorsOpened(train=event.train))

        station.declare(nested)
        arrive("ICE 1")
        run_until_idle()
        row = finish(begin())
        assert row.report["published"] == {DoorsOpened.contract_name: 1}
        assert row.report.get("differences", {}) == {}

    @pytest.mark.parametrize("guarantee", ["at_least_once", "at_most_once"])
    def test_is_refused_to_a_consumer_outside_a_transaction(self, station: Any, guarantee: str) -> None:
        station.declare(guarantee=guarantee)
        with pytest.raises(OperationRefused, match="could not be rolled back") as refusal:
            begin()
        assert refusal.value.field == "mode"

    def test_a_day_of_stored_orders_replayed_in_shadow_reports_exactly_the_differences(self) -> None:
        synchronise()
        for number in range(1, 9):
            post(draft(number=number))
        run_until_idle()
        declared = find_consumer("notification.send_email")
        assert declared is not None
        orders = sorted(
            json.loads(bytes(body))["order_id"]
            for body in Message.objects.filter(type="ecommerce.OrderConfirmed").values_list("body", flat=True)
        )
        assert len(orders) >= 4
        assert finish(begin(consumer=declared.name)).differing == 0
        strange, noisy = orders[0], orders[1]

        def changed(event: Any, context: Context) -> None:
            """The next release: it fails for one order, and tells of another."""
            if str(event.order_id) == strange:
                raise PermanentError("unknown kind of order")
            declared.handler(event, context)
            if str(event.order_id) == noisy:
                publish(DoorsOpened(train="mailed"))

        with Released(declared, changed):
            row = finish(begin(consumer=declared.name))
        assert row.report["differences"] == {
            "failed instead of handled": 1, f"publishes 1 {DoorsOpened.contract_name} instead of 0": 1,
        }  # fmt: skip
        named = {sample["message_id"] for sample in row.report["samples"]}
        bodies = Message.objects.filter(id__in=named).values_list("body", flat=True)
        assert {json.loads(bytes(body))["order_id"] for body in bodies} == {strange, noisy}


class Released:
    """Put a changed handler in a consumer's place, and the old one back."""

    def __init__(self, declared: Consumer, handler: Any) -> None:
        from dataclasses import replace

        self.old, self.new = declared, replace(declared, handler=handler)

    def __enter__(self) -> None:
        declare(self.new)

    def __exit__(self, *_: object) -> None:
        declare(self.old)


class TestReal:
    def test_sends_each_message_again_as_a_new_run(self, station: Any) -> None:
        station.declare()
        [first, _] = arrive("ICE 1", "ICE 2")
        run_until_idle()
        row = finish(begin("real"))
        run_until_idle()
        assert (row.done, row.out) == (2, 0)
        assert ledger() == ["ICE 1", "ICE 1", "ICE 2", "ICE 2"]
        assert list(Attempt.objects.filter(message_id=first).order_by("run").values_list("run", flat=True)) == [1, 2]
        assert sorted(AuditRecord.objects.filter(target=f"replay:{row.id}").values_list("action", flat=True)) == [
            "history.replay", "history.replay_done",
        ]  # fmt: skip

    def test_fills_a_new_consumer_with_what_it_missed_and_nothing_twice(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        station.declare(lambda event, context: write(f"clean {event.train}"), name=CLEAN)
        arrive("ICE 3")
        run_until_idle()
        arrive("ICE 4")  # still in the outbox
        row = finish(begin("real", CLEAN, only_missing=True))
        run_until_idle()
        assert (row.done, row.left_out) == (2, {"had it already": 1, "still on its way": 1})
        assert [train for train in ledger() if train.startswith("clean")] == [f"clean ICE {n}" for n in (1, 2, 3, 4)]

    def test_leaves_open_dead_letters_to_their_own_replay(self, station: Any) -> None:
        def fail(event: Any, context: Context) -> None:
            raise PermanentError("broken")

        station.declare(fail)
        arrive("ICE 1")
        run_until_idle()
        row = finish(begin("real"))
        assert row.left_out == {"an unresolved dead letter, to be replayed as such": 1}
        assert not OutboxEntry.objects.exists()

    def test_two_at_a_time_send_a_message_once(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        run_until_idle()
        first, second = begin("real"), begin("real")
        assert finish(first).done + finish(second).done == 1

    def test_asks_the_filter_as_the_relay_does(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1", "RB 1")
        run_until_idle()
        station.declare(filter={"train": [{"prefix": "RB"}]})
        assert finish(begin("real")).left_out == {"not wanted by its filter": 1}

    @pytest.mark.parametrize("mode", ["shadow", "real"])
    def test_leaves_out_what_was_cancelled_before_its_time(self, station: Any, mode: str) -> None:
        station.declare()
        arrive("ICE 1")
        [waiting] = arrive("ICE 2", delay="1h")
        run_until_idle()
        with transaction.atomic():
            assert cancel_scheduled(waiting)
        row = finish(begin(mode))
        run_until_idle()
        assert (row.done, row.left_out) == (1, {"cancelled before its time": 1})
        assert "ICE 2" not in ledger()


class TestProgress:
    def test_keeps_to_the_rate(self, station: Any) -> None:
        station.declare()
        arrive(*(f"ICE {n}" for n in range(10)))
        run_until_idle()
        id = begin("real", rate=2)
        assert advancing.advance_replays() == 4
        assert advancing.advance_replays() == 0
        row = HistoryReplay.objects.get(id=id)
        assert row.next_at > store().now() + timedelta(seconds=1)

    def test_stops_when_aborted_and_goes_on_where_it_stopped(self, station: Any) -> None:
        station.declare()
        arrive(*(f"ICE {n}" for n in range(6)))
        run_until_idle()
        id = begin("real", rate=2)
        advancing.advance_replays()
        abort_replay(id=id, actor=ANA, reason="too loud")
        HistoryReplay.objects.update(next_at=store().now())
        assert advancing.advance_replays() == 0
        with pytest.raises(OperationRefused, match="is aborted"):
            abort_replay(id=id, actor=ANA, reason="again")
        resume_replay(id=id, actor=ANA, reason="quiet now")
        assert finish(id).done == 6
        run_until_idle()
        assert len(ledger()) == 12

    def test_of_a_chunk_whose_process_died_is_taken_over(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        run_until_idle()
        id = begin()
        HistoryReplay.objects.update(token=uuid4(), leased_until=store().now() + timedelta(minutes=1))
        assert advancing.advance_replays() == 0
        HistoryReplay.objects.update(leased_until=store().now() - timedelta(seconds=1))
        assert finish(id).done == 1

    def test_never_takes_in_what_came_after_its_start(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        id = begin()
        arrive("ICE 2")
        assert finish(id).looked_at == 1


class TestOperation:
    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"consumer": "nobody"}, "consumer"), ({"mode": "loud"}, "mode"), ({"rate": 0}, "rate"),
            ({"types": ["tests.Unknown"]}, "types"), ({"reason": " "}, "reason"),
            ({"only_missing": True}, "only_missing"),
        ],
    )  # fmt: skip
    def test_refuses_what_cannot_be(self, station: Any, given: dict[str, Any], field: str) -> None:
        station.declare()
        with pytest.raises(OperationRefused) as refusal:
            begin(**given)
        assert refusal.value.field == field
        assert not HistoryReplay.objects.exists()

    def test_is_denied_to_those_who_may_only_look(self, station: Any) -> None:
        station.declare()
        with pytest.raises(OperationRefused):
            begin(actor=EVE)
        assert AuditRecord.objects.get().outcome == "denied"

    def test_is_done_once_for_its_request_id(self, station: Any) -> None:
        station.declare()
        since = store().now() - timedelta(days=1)
        given: dict[str, Any] = {"since": since, "until": since + timedelta(hours=1), "request_id": "r-1"}
        assert begin(**given) == begin(**given)

    def test_goes_over_rest(self, station: Any) -> None:
        station.declare()
        arrive("ICE 1")
        run_until_idle()
        api = Api("read", "operate")
        asked = {
            "consumer": ANNOUNCE,
            "mode": "shadow",
            "since": "2020-01-01T00:00:00Z",
            "reason": "a try",
            "rate": 1000,
        }
        answer = api.post("/replays", asked)
        assert answer.status_code == 202
        id = answer.json()["id"]
        assert api.post(f"/replays/{id}/abort", {"reason": "stop"}).json()["state"] == "aborted"
        assert problem(api.post(f"/replays/{id}/abort", {"reason": "stop"}), 409)
        assert api.post(f"/replays/{id}/resume", {"reason": "go"}).json()["state"] == "running"
        finish(UUID(id))
        assert api.get(f"/replays/{id}").json()["report"]["outcomes"] == {"handled": 1}
        assert [row["id"] for row in api.get("/replays").json()["items"]] == [id]
        assert problem(api.post("/replays", {**asked, "mode": "loud"}), 422)

    def test_goes_by_page(self, station: Any) -> None:
        station.declare()
        client = signed_in("ana", "view_console", "operate")
        form = {"consumer": ANNOUNCE, "mode": "shadow", "since": "2020-01-01T00:00", "rate": "5", "reason": "a try"}
        assert "Nothing was started" in client.post("/operations/start", {**form, "rate": "x"}).content.decode()
        page = client.post("/operations/start", form, follow=True).content.decode()
        assert "Replay in shadow to" in page
        [row] = HistoryReplay.objects.all()
        aborted = client.post(f"/operations/{row.id}/abort", {"reason": "enough"}, follow=True).content.decode()
        assert "Aborted by ana" in aborted
        assert str(row.id) in client.get("/operations").content.decode()
        viewer = signed_in("eve", "view_console")
        assert viewer.post("/operations/start", form).status_code == 403

    def test_goes_by_command(self, station: Any, capsys: pytest.CaptureFixture[str]) -> None:
        station.declare()
        call_command(
            "history_replay", "start", ANNOUNCE, "--mode", "shadow", "--since", "2020-01-01", "--reason", "x", "--json"
        )
        id = json.loads(capsys.readouterr().out)["id"]
        call_command("history_replay", "abort", id, "--reason", "enough")
        assert "aborted" in capsys.readouterr().out
