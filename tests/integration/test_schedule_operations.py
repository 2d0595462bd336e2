"""Operators on what waits for its time: by operation, REST, command line and page, guarded and audited alike."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console.ui import context as page_context
from messaging import OperationRefused, clock, recurring, tasks
from messaging.database import store
from messaging.models import (
    AuditRecord,
    CancelledMessage,
    Delivery,
    Housekeeping,
    Message,
    OutboxEntry,
    Schedule,
    ScheduledMessage,
)
from messaging.operations import (
    cancel_messages,
    fire_schedule,
    hasten_messages,
    pause_schedule,
    resume_schedule,
)
from messaging.queries.outbox import list_outbox, outbox_state
from messaging.queries.overview import vitals
from messaging.queries.scheduling import get_schedule, housekeeping, list_scheduled, list_schedules
from messaging.queries.waiting import list_waiting
from messaging.scheduling import firing
from messaging.scheduling.recurring import forget_schedule
from messaging.scheduling.synchronising import synchronise_schedules
from messaging.settings import options
from messaging.testing import run_until_idle
from tests import rows
from tests.api import Api, problem
from tests.factories import ANA, EVE, Station, TrainArrived, arrive, elsewhere, ledger
from tests.pages import EVIL, row_ids, signed_in

pytestmark = pytest.mark.django_db(transaction=True)
NIGHT = "station.night"
WHY = "the line is closed"


@pytest.fixture(autouse=True)
def _night() -> Iterator[None]:
    recurring(NIGHT, TrainArrived(train="NJ 1"), cron="30 2 * * *", zone="Europe/Berlin")
    synchronise_schedules(is_deploy=True)
    page_context.forget()
    yield
    forget_schedule(NIGHT)
    page_context.forget()


@pytest.fixture
def ana() -> Client:
    return signed_in("ana", "view_console", "operate")


@pytest.fixture
def vera() -> Client:
    """Vera may only look."""
    return signed_in("vera", "view_console")


def later(train: str = "ICE 1", **when: Any) -> UUID:
    [message_id] = arrive(train, **(when or {"delay": "1h"}))
    return message_id


def audited(action: str) -> list[str]:
    return list(AuditRecord.objects.filter(action=action).values_list("outcome", flat=True))


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


class TestCancelling:
    def test_takes_messages_back_and_says_of_each_other_one_why_not(self, station: Station) -> None:
        station.declare()
        waiting, fired, nobody = later(), later(at=clock.now()), uuid4()
        assert cancel_messages(ids=[waiting], actor=ANA, reason=WHY).done == (waiting,)
        result = cancel_messages(ids=[waiting, fired, nobody], actor=ANA, reason=WHY)
        whys = {refusal.id: refusal.why for refusal in result.refused}
        assert whys == {waiting: "already cancelled by ana", fired: "has fired already", nobody: "does not exist"}
        assert sorted(audited("message.cancel")) == ["done", "refused", "refused", "refused"]
        run_until_idle()
        assert ledger() == ["ICE 1"]

    def test_needs_a_reason_and_the_permission(self) -> None:
        message_id = later()
        for actor, reason, code in ((ANA, " ", "invalid"), (EVE, WHY, "forbidden")):
            with pytest.raises(OperationRefused) as refused:
                cancel_messages(ids=[message_id], actor=actor, reason=reason)
            assert refused.value.code == code
        assert ScheduledMessage.objects.count() == 1
        assert sorted(audited("message.cancel")) == ["denied", "refused"]

    def test_repeated_with_its_request_id_gives_the_first_answer(self) -> None:
        message_id = later()
        first, again = (cancel_messages(ids=[message_id], actor=ANA, reason=WHY, request_id="r-1") for _ in range(2))
        assert first == again
        assert audited("message.cancel") == ["done"]

    def test_by_two_operators_at_once_is_done_once(self) -> None:
        message_id = later()
        both = [elsewhere(lambda: cancel_messages(ids=[message_id], actor=ANA, reason=WHY)) for _ in range(2)]
        assert sorted(len(each.result(timeout=30).done) for each in both) == [0, 1]
        assert CancelledMessage.objects.count() == 1


class TestHastening:
    def test_makes_a_message_due_now(self, station: Station) -> None:
        station.declare()
        message_id = later()
        assert hasten_messages(ids=[message_id], actor=ANA).done == (message_id,)
        run_until_idle()
        assert ledger() == ["ICE 1"]
        assert hasten_messages(ids=[message_id], actor=ANA).refused[0].why == "has fired already"


class TestSchedule:
    def test_paused_does_not_fire_and_resumed_makes_up_for_nothing(self) -> None:
        pause_schedule(name=NIGHT, actor=ANA, reason=WHY)
        Schedule.objects.update(next_at=store().now() - timedelta(days=3))
        assert firing.fire_due() == 0
        with pytest.raises(OperationRefused, match="already paused by ana"):
            pause_schedule(name=NIGHT, actor=ANA, reason=WHY)
        resume_schedule(name=NIGHT, actor=ANA)
        assert firing.fire_due() == 0
        found = get_schedule(NIGHT)
        assert found is not None
        assert (found.status, found.next[0].at > store().now()) == ("active", True)
        with pytest.raises(OperationRefused, match="not paused"):
            resume_schedule(name=NIGHT, actor=ANA)

    def test_fired_by_hand_publishes_now_and_keeps_its_due_times(self, station: Station) -> None:
        station.declare()
        before = Schedule.objects.get().next_at
        message_id = fire_schedule(name=NIGHT, actor=ANA, reason=WHY)
        run_until_idle()
        assert ledger() == ["NJ 1"]
        assert Schedule.objects.get().next_at == before
        assert Message.objects.get(id=message_id).headers["schedule"] == NIGHT
        [record] = AuditRecord.objects.filter(action="schedule.fire")
        assert (record.target, record.details) == (f"schedule:{NIGHT}", {"message_id": str(message_id)})

    def test_fired_twice_with_one_request_id_publishes_once(self) -> None:
        first, again = (fire_schedule(name=NIGHT, actor=ANA, reason=WHY, request_id="r-1") for _ in range(2))
        assert first == again
        assert Message.objects.count() == 1

    def test_of_another_service_cannot_be_fired_here(self) -> None:
        forget_schedule(NIGHT)
        with pytest.raises(OperationRefused, match="declared by"):
            fire_schedule(name=NIGHT, actor=ANA, reason=WHY)

    def test_is_shown_with_its_next_five_due_times_in_its_zone(self) -> None:
        found = get_schedule(NIGHT)
        assert found is not None
        assert [(due.local.hour, due.local.minute) for due in found.next] == [(2, 30)] * 5
        assert found.words == "At 02:30 every day"

    def test_that_nobody_fires_is_counted(self) -> None:
        Schedule.objects.update(next_at=clock.now() - timedelta(minutes=1))
        assert vitals().schedules_failing == 1
        [row] = list_schedules()
        assert row.is_overdue


class TestLists:
    def test_go_on_from_page_to_page_without_gap_or_repetition(self) -> None:
        noon = clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
        ids = [later(f"ICE {number}", at=noon + timedelta(seconds=number // 3)) for number in range(25)]
        seen: list[UUID] = []
        after = ""
        while True:
            page = list_scheduled(limit=4, after=after)
            seen += [row.message_id for row in page.rows]
            if page.next is None:
                break
            after = page.next
        assert seen == sorted(ids, key=lambda one: (ids.index(one) // 3, one))

    def test_show_ten_thousand_in_few_statements(self) -> None:
        now = store().now()
        ScheduledMessage.objects.bulk_create(
            ScheduledMessage(message_id=uuid4(), type="t", due_at=now + timedelta(seconds=number), created_at=now)
            for number in range(10_000)
        )
        with CaptureQueriesContext(
            connection,
        ) as asked:
            page = list_scheduled(limit=50)
            list_scheduled(limit=50, after=page.next or "")
        assert len(asked) == 4
        assert vitals().scheduled == 10_000

    def test_ignore_a_mangled_cursor(self) -> None:
        message_id = later()
        for cursor in ("x", "-", "9" * 80 + "-1", f"1-{EVIL}"):
            assert [row.message_id for row in list_scheduled(after=cursor).rows] == [message_id]

    def test_of_retries_say_why_and_when(self) -> None:
        message = rows.message()
        rows.consumer(rows.CHARGE)
        rows.attempt(message, rows.CHARGE, "retried")
        rows.delivery(message, rows.CHARGE, due_in=600, failures=2)
        rows.delivery(rows.message(), rows.CHARGE)  # due already
        [row] = list_waiting().rows
        assert (row.consumer, row.failures, row.error_type) == (rows.CHARGE, 2, "UnknownCurrency")

    def test_of_the_outbox_mark_what_is_stuck(self) -> None:
        rows.outbox(rows.message(age=120))
        rows.outbox(rows.message(age=0, type="ecommerce.OrderPaid"))
        state = outbox_state()
        assert (state.rows, state.stuck, len(state.types)) == (2, 1, 2)
        assert [row.is_stuck for row in list_outbox().rows] == [True, False]
        assert list_outbox(limit=1).next is not None


class TestHousekeeping:
    def test_shows_the_last_run_of_each_task(self) -> None:
        tasks.resume_expired_pauses.apply()
        shown = {row.name: row for row in housekeeping(tasks.SCHEDULE)}
        assert set(shown) == set(tasks.SCHEDULE)
        ran = shown["messaging.resume_expired_pauses"]
        assert (ran.outcome, ran.runs, ran.result, ran.owner) == ("done", 1, "0", "messaging")
        assert shown["messaging.prune"].outcome == ""

    def test_shows_a_task_that_failed_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> int:
            raise RuntimeError("disk full")

        monkeypatch.setattr("messaging.maintenance.resume_expired_pauses", fail)
        tasks.resume_expired_pauses.apply()
        tasks.fold_rollups.apply()
        first = housekeeping(tasks.SCHEDULE)[0]
        assert (first.name, first.outcome) == ("messaging.resume_expired_pauses", "failed")
        assert "disk full" in first.result

    def test_marks_a_task_that_should_have_run(self) -> None:
        tasks.fold_rollups.apply()
        Housekeeping.objects.update(started_at=clock.now() - timedelta(minutes=5))
        assert housekeeping({"messaging.fold_rollups": 5.0})[0].is_late


class TestRest:
    def test_lists_cancels_and_hastens(self) -> None:
        api, message_id, other = Api("read", "operate"), later(), later()
        listed = api.get("/scheduled", limit=1).json()
        assert ([each["message_id"] for each in listed["items"]], listed["next"] is None) == ([str(message_id)], False)
        assert api.post(f"/scheduled/{message_id}/cancel", {"reason": WHY}).json()["status"] == "cancelled"
        assert (
            "already cancelled" in problem(api.post(f"/scheduled/{message_id}/cancel", {"reason": WHY}), 409)["detail"]
        )
        assert api.post(f"/scheduled/{other}/hasten").json()["status"] == "due"
        problem(api.post(f"/scheduled/{uuid4()}/hasten"), 404)

    def test_acts_on_schedules(self) -> None:
        api = Api("read", "operate")
        assert [each["name"] for each in api.get("/schedules").json()["items"]] == [NIGHT]
        assert api.post(f"/schedules/{NIGHT}/pause", {"reason": WHY}).json()["is_paused"]
        assert api.get(f"/schedules/{NIGHT}").json()["status"] == "paused"
        assert not api.post(f"/schedules/{NIGHT}/resume").json()["is_paused"]
        fired = api.post(f"/schedules/{NIGHT}/fire", {"reason": WHY})
        assert (fired.status_code, OutboxEntry.objects.count()) == (202, 1)
        problem(api.post("/schedules/nobody/fire", {"reason": WHY}), 404)

    def test_lists_and_changes_waiting_deliveries(self) -> None:
        api, message = Api("read", "operate"), rows.message()
        rows.consumer(rows.CHARGE)
        rows.delivery(message, rows.CHARGE, due_in=600, failures=1)
        [item] = api.get("/waiting").json()["items"]
        assert api.post("/waiting/hasten", {"ids": [item["id"]]}).json() == {"done": [item["id"]], "refused": []}
        assert Delivery.objects.get().available_at <= clock.now()
        problem(api.post("/waiting/hasten", {"ids": ["x"]}), 422)

    def test_shows_outbox_and_housekeeping(self) -> None:
        rows.outbox(rows.message(age=120))
        api = Api("read")
        assert api.get("/outbox").json()["state"]["stuck"] == 1
        assert {each["name"] for each in api.get("/housekeeping").json()["items"]} == set(tasks.SCHEDULE)

    def test_shows_what_is_kept_since_when_and_until_when(self) -> None:
        message = rows.message(age=120)
        rows.outbox(message)
        Housekeeping.objects.create(
            name="messaging.prune", started_at=clock.now(), duration_us=1, outcome="done", runs=1
        )
        found = {each["what"]: each for each in Api("read").get("/storage").json()["items"]}
        kept = found["messages"]
        assert (kept["kind"], kept["keeps_seconds"]) == ("history", options().retention_days * 86_400)
        assert datetime.fromisoformat(kept["oldest_at"]) <= clock.now()
        assert datetime.fromisoformat(kept["next_prune_at"]) > clock.now()
        assert found["outbox"]["keeps_seconds"] is found["outbox"]["next_prune_at"] is None
        assert found["attempts"]["oldest_at"] is None
        if connection.vendor == "postgresql":
            assert kept["bytes"] > 0
        else:
            assert (found["outbox"]["rows"], kept["bytes"]) == (1, None)

    @pytest.mark.parametrize(
        "path", [f"/schedules/{NIGHT}/fire", f"/scheduled/{UUID(int=1)}/cancel", "/waiting/cancel"]
    )
    def test_needs_the_scope_to_operate(self, path: str) -> None:
        problem(Api("read").post(path, {"reason": WHY}), 403)


class TestCommand:
    def test_lists_hastens_and_cancels(self) -> None:
        first, second = later(), later()
        assert str(first) in command("scheduled", "list")
        assert json.loads(command("scheduled", "list", "--json"))[0]["message_id"] == str(first)
        assert "1 made due" in command("scheduled", "hasten", str(first))
        assert "1 cancelled" in command("scheduled", "cancel", str(second), "--reason", WHY)
        assert str(second) in command("scheduled", "cancelled")
        with pytest.raises(SystemExit):
            command("scheduled", "cancel", str(second), "--reason", WHY)
        with pytest.raises(CommandError, match="ids of messages"):
            command("scheduled", "hasten", "x")

    def test_shows_pauses_and_fires_schedules(self) -> None:
        assert "30 2 * * * (Europe/Berlin)" in command("schedules", "list")
        assert command("schedules", "show", NIGHT).count("UTC") == 6
        command("schedules", "pause", NIGHT, "--reason", WHY)
        assert "paused" in command("schedules", "list")
        command("schedules", "resume", NIGHT)
        assert "was fired as message" in command("schedules", "fire", NIGHT, "--reason", WHY)
        with pytest.raises(CommandError, match="no schedule"):
            command("schedules", "show", "nobody")


class TestPage:
    @pytest.mark.parametrize(
        "tab", ["", "messages", "retries", "recurring", "housekeeping", "storage", "cancelled", EVIL]
    )
    def test_shows_each_tab_to_who_may_look(self, vera: Client, tab: str) -> None:
        later(EVIL, key=EVIL, delay="1h")
        response = vera.get("/scheduled", {"tab": tab})
        assert response.status_code == 200
        assert "<script>alert" not in response.content.decode()

    def test_cancels_what_was_chosen(self, ana: Client) -> None:
        message_id = later()
        assert row_ids(ana.get("/scheduled")) == [str(message_id)]
        answer = ana.post("/scheduled/act", {"ids": [str(message_id)], "action": "cancel", "reason": WHY}, follow=True)
        assert "1 cancelled." in answer.content.decode()
        assert row_ids(ana.get("/scheduled?tab=cancelled")) == [str(message_id)]

    def test_changes_nothing_for_who_may_only_look(self, vera: Client) -> None:
        message_id = later()
        assert vera.post("/scheduled/act", {"ids": [str(message_id)], "action": "hasten"}).status_code == 403
        assert vera.post(f"/scheduled/{NIGHT}/fire", {"reason": WHY}).status_code == 403
        assert (OutboxEntry.objects.count(), ScheduledMessage.objects.count()) == (0, 1)

    def test_hastens_a_retry(self, ana: Client) -> None:
        rows.consumer(rows.CHARGE)
        waiting = rows.delivery(rows.message(), rows.CHARGE, due_in=600, failures=1)
        [chosen] = row_ids(ana.get("/scheduled?tab=retries"))
        answer = ana.post("/scheduled/retries/act", {"ids": [chosen], "action": "hasten"}, follow=True)
        assert "1 due now." in answer.content.decode()
        assert Delivery.objects.get(message_id=waiting.message_id).available_at <= clock.now()

    def test_of_a_schedule_pauses_resumes_and_fires(self, ana: Client) -> None:
        page = f"/scheduled/{NIGHT}"
        assert "At 02:30 every day" in ana.get(page).content.decode()
        assert "is paused" in ana.post(f"{page}/pause", {"reason": WHY}, follow=True).content.decode()
        assert ana.post(f"{page}/pause", {"reason": WHY}).status_code == 409
        assert "is fired again" in ana.post(f"{page}/resume", {"reason": ""}, follow=True).content.decode()
        assert ana.post(f"{page}/fire", {"reason": ""}).status_code == 422
        assert "was fired as message" in ana.post(f"{page}/fire", {"reason": WHY}, follow=True).content.decode()
        assert ana.get("/scheduled/nobody").status_code == 404

    def test_of_the_outbox_shows_what_is_stuck(self, vera: Client) -> None:
        assert "The outbox is empty" in vera.get("/outbox").content.decode()
        rows.outbox(rows.message(age=120))
        assert "Stuck" in vera.get("/outbox").content.decode()
        assert vera.get("/outbox", {"after": "9" * 30}).status_code == 200

    def test_tells_on_the_overview_what_is_overdue(self, vera: Client) -> None:
        later()
        ScheduledMessage.objects.update(due_at=clock.now() - timedelta(minutes=1))
        assert "1 scheduled message is overdue" in vera.get("/").content.decode()

    def test_of_a_message_says_when_it_is_due_and_that_it_was_cancelled(self, vera: Client) -> None:
        message_id = later()
        assert "Cancel or hasten" in vera.get(f"/messages/{message_id}").content.decode()
        cancel_messages(ids=[message_id], actor=ANA, reason=WHY)
        assert WHY in vera.get(f"/messages/{message_id}").content.decode()
