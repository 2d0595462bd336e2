"""Appointments over HTTP and through the harness: arranged by a saga or undone, on a schedule that keeps its past."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from examples.appointments import gateway
from examples.appointments.calendar import PLANS, plan_id
from examples.appointments.consumers import AWAY, book_room, book_slot, keep_record, notify, release_room, release_slot
from examples.appointments.events import (
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentRequested,
    AppointmentRescheduled,
    AppointmentScheduled,
    BookRoom,
    BookSlot,
    SlotBooked,
    SlotReleased,
)
from examples.appointments.models import AgendaEntry, Appointment, DayUse, RoomBooking, TextMessage
from examples.appointments.projections import agenda, utilisation
from examples.appointments.sagas import Booking, BookingData
from examples.appointments.sample import FAILURES, AppointmentMaker, step
from messaging import PermanentError, testing
from messaging.consumers import all_consumers
from messaging.errors import WrongVersion
from messaging.eventstore import building
from messaging.ids import new_id
from messaging.models import EventStream, Message, SagaInstance, ScheduledMessage, StreamSnapshot
from messaging.operations import command_line, replay_dead_letters, resubmit_dead_letter
from messaging.subscriptions import synchronise
from messaging.testing import Harness
from messaging.testing.sagas import FailureCase, check_failure
from messaging.verification import verify

pytestmark = pytest.mark.django_db
ANA = command_line("ana")
ADA = {"patient": "Ada Byron", "phone": "+49151000001"}


OURS = [each.name for each in all_consumers() if each.handler.__module__.startswith("examples.appointments.")]


@pytest.fixture
def harness(db: None) -> Iterator[Harness]:
    """Deliver to the clinic only: nobody else listens, and asking them all again and again takes time."""
    synchronise()
    with testing.harness(consumers=OURS) as running:
        yield running


def slot(h: Harness, hour: int = 9, *, days: int = 7) -> datetime:
    return (h.now + timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0)


def post(path: str, body: dict[str, Any]) -> Any:
    return Client().post(f"/clinic/{path}", json.dumps(body, default=str), content_type="application/json")


def ask(h: Harness, hour: int = 9, **changes: Any) -> Appointment:
    """Ask for an appointment over HTTP; nothing has happened to it yet."""
    wanted = {**ADA, "practitioner": "dr-adams", "starts_at": slot(h, hour).isoformat(), **changes}
    answer = post("appointments", wanted)
    assert answer.status_code == 201, answer.content
    return Appointment.objects.get(id=answer.json()["appointment_id"])


def arranged(h: Harness, hour: int = 9, **changes: Any) -> Appointment:
    row = ask(h, hour, **changes)
    h.run()
    row.refresh_from_db()
    return row


def move(row: Appointment, to: datetime) -> Any:
    return post(f"appointments/{row.id}/reschedule", {"starts_at": to.isoformat()})


def cancel(row: Appointment) -> Any:
    return post(f"appointments/{row.id}/cancel", {"reason": "well again"})


def held(booking: UUID) -> tuple[bool, bool]:
    """Say whether a booking holds a slot and a room."""
    plans = EventStream.objects.filter(category="dayplan").values_list("name", flat=True)
    slots = {holder for name in plans for holder in PLANS.load(name.partition("/")[2]).state.slots.values()}
    return booking in slots, RoomBooking.objects.filter(booking_id=booking, released_at=None).exists()


def build() -> None:
    while building.advance_projections(seconds=60):
        pass


def is_sound() -> bool:
    broken = [each for each in verify().invariants if each.violations]
    assert not broken
    return verify().is_sound


class TestAppointment:
    def test_is_confirmed_once_calendar_room_and_notification_have_answered(self, harness: Harness) -> None:
        row = arranged(harness)
        harness.published(AppointmentScheduled, times=1, room="C1")
        harness.published(AppointmentConfirmed, times=1)
        assert (row.state, row.room) == ("confirmed", "C1")
        assert harness.saga(Booking, row.booking_id, state="confirmed").pending == ("its_time",)
        assert held(row.booking_id) == (True, True)
        assert "dr-adams" in TextMessage.objects.get(appointment_id=row.id).text
        assert is_sound()

    @pytest.mark.parametrize("slow", [book_slot, book_room])
    def test_does_not_mind_who_answers_first(self, harness: Harness, slow: Any) -> None:
        harness.fail(slow, times=3)
        row = arranged(harness)
        assert row.state == "requested"
        harness.saga(Booking, row.booking_id, state="arranging")
        harness.advance("5s")
        row.refresh_from_db()
        assert row.state == "confirmed"

    def test_ends_when_its_time_is_over(self, harness: Harness) -> None:
        row = arranged(harness)
        harness.finish()
        row.refresh_from_db()
        assert (row.state, held(row.booking_id)) == ("passed", (True, True))
        assert harness.now == row.starts_at + timedelta(minutes=30)
        assert is_sound()

    def test_is_one_flow_over_all_its_requests(self, harness: Harness) -> None:
        row = arranged(harness)
        move(row, slot(harness, 10))
        harness.run()
        cancel(row)
        harness.run()
        assert set(Message.objects.values_list("correlation_id", flat=True)) == {row.flow}

    def test_is_taken_once_under_its_id(self, harness: Harness) -> None:
        same = {**ADA, "appointment_id": new_id(), "practitioner": "dr-adams", "starts_at": slot(harness)}
        answers = [post("appointments", {**same, **change}) for change in ({}, {}, {"room_kind": "ultrasound"})]
        assert [each.status_code for each in answers] == [201, 200, 409]
        assert Client().get(answers[0]["Location"]).json()["state"] == "requested"
        harness.run()
        harness.published(AppointmentRequested, times=1)

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"starts_at": "2020-01-01T09:00:00Z"}, 422),
            ({"starts_at": "2099-01-01T09:10:00Z"}, 422),
            ({"starts_at": "2099-01-01T20:00:00Z"}, 422),
            ({"starts_at": "0001-01-01T00:00:00+10:00"}, 422),
            ({"phone": "tomorrow"}, 422),
            ({"fee": 1}, 422),
        ],
    )
    def test_is_refused_at_the_door_with_the_field(self, change: dict[str, Any], status: int) -> None:
        wanted = {**ADA, "practitioner": "dr-adams", "starts_at": "2099-01-01T09:00:00Z", **change}
        answer = post("appointments", wanted)
        assert (answer.status_code, answer.json()["field"]) == (status, *change)
        assert not Message.objects.exists()

    def test_names_no_patient_in_a_stream(self, harness: Harness) -> None:
        arranged(harness)
        [booked] = harness.published(SlotBooked)
        assert not {"patient", "phone"} & set(booked.model_dump())


def _slot_taken(h: Harness) -> UUID:
    arranged(h)
    return arranged(h).booking_id


def _no_room(h: Harness) -> UUID:
    return arranged(h, room_kind="mri").booking_id


def _silent(h: Harness, service: Any) -> UUID:
    h.fail(service, error=PermanentError("gone"))
    row = arranged(h)
    h.saga(Booking, row.booking_id, state="arranging")
    h.advance("10m")
    return row.booking_id


def _unknown_number(h: Harness) -> UUID:
    row = arranged(h, phone=gateway.UNKNOWN)
    assert row.state == "scheduled"
    h.advance("1d")
    return row.booking_id


def _cancelled(h: Harness) -> UUID:
    row = arranged(h)
    cancel(row)
    h.run()
    return row.booking_id


def _cancelled_at_once(h: Harness) -> UUID:
    h.fail(book_room, times=3)
    row = arranged(h)
    cancel(row)
    h.advance("5s")
    return row.booking_id


def _moved(h: Harness) -> UUID:
    row = arranged(h)
    move(row, slot(h, 10))
    h.run()
    return row.booking_id


def _release_fails(h: Harness) -> UUID:
    row = arranged(h)
    h.fail(release_room, times=3)
    h.fail(release_slot, times=3, after=True)
    cancel(row)
    h.run()
    h.saga(Booking, row.booking_id, state="compensating")
    h.advance("1m")
    return row.booking_id


CASES = [
    FailureCase(failure="the practitioner is booked", run=_slot_taken, ends_in="declined", undone=["room"]),
    FailureCase(failure="no room is free", run=_no_room, ends_in="declined", undone=["slot"]),
    FailureCase(failure="calendar silent", run=lambda h: _silent(h, book_slot), ends_in="declined", undone=["room"]),
    FailureCase(failure="rooms silent", run=lambda h: _silent(h, book_room), ends_in="declined", undone=["slot"]),
    FailureCase(failure="unknown number", run=_unknown_number, ends_in="cancelled", undone=["room", "slot"]),
    FailureCase(failure="cancelled", run=_cancelled, ends_in="cancelled", undone=["room", "slot"]),
    FailureCase(failure="cancelled early", run=_cancelled_at_once, ends_in="cancelled", undone=["slot", "room"]),
    FailureCase(failure="moved", run=_moved, ends_in="replaced", undone=["room", "slot"]),
    FailureCase(failure="giving back fails", run=_release_fails, ends_in="cancelled", undone=["room", "slot"]),
]


class TestFailure:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.failure)
    def test_ends_where_it_should_and_holds_nothing(self, harness: Harness, case: FailureCase) -> None:
        seen = check_failure(harness, Booking, case)
        assert isinstance(seen.data, BookingData)
        assert held(seen.data.booking_id) == (False, False)
        assert is_sound()

    @pytest.mark.parametrize("handler", ["appointments.Booking", book_slot, book_room, notify, keep_record])
    def test_books_once_when_a_process_dies_after_its_work(self, harness: Harness, handler: Any) -> None:
        harness.fail(handler, times=3, after=True)
        row = ask(harness)
        harness.advance("1m")
        row.refresh_from_db()
        assert row.state == "confirmed"
        harness.published(SlotBooked, times=1)
        assert (RoomBooking.objects.count(), TextMessage.objects.count()) == (1, 1)
        assert is_sound()

    def test_gives_back_what_comes_after_the_end(self, harness: Harness) -> None:
        booking = _silent(harness, book_room)
        [letter] = harness.dead_lettered(BookRoom, by=book_room)
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="the rooms are back")
        harness.run()
        assert harness.saga(Booking, booking, state="declined").undone == ("slot", "room")
        assert held(booking) == (False, False)
        assert is_sound()

    def test_heals_while_the_calendar_is_away(self, harness: Harness) -> None:
        row = arranged(harness, practitioner=AWAY, phone=gateway.SLOW)
        harness.retrying(BookSlot, by=book_slot)
        harness.advance("1m")
        row.refresh_from_db()
        assert row.state == "confirmed"

    def test_is_confirmed_once_a_corrected_number_is_told(self, harness: Harness) -> None:
        row = arranged(harness, phone=gateway.UNKNOWN)
        [letter] = harness.dead_lettered(AppointmentScheduled, by=notify, error=gateway.UnknownNumber)
        body = json.loads(bytes(Message.objects.get(id=letter.message_id).body))
        edited = json.dumps({**body, "phone": ADA["phone"]})
        resubmit_dead_letter(id=letter.id, body=edited, actor=ANA, reason="two digits were swapped")
        harness.run()
        row.refresh_from_db()
        assert row.state == "confirmed"


class TestReschedule:
    def test_replaces_the_booking_once_the_new_one_stands(self, harness: Harness) -> None:
        row = arranged(harness)
        assert move(row, slot(harness, 10)).json()["is_being_moved"]
        harness.run()
        before, now = row.booking_id, Appointment.objects.get(id=row.id)
        assert (now.state, now.starts_at, now.wanted_booking_id) == ("confirmed", slot(harness, 10), None)
        assert (held(before), held(now.booking_id)) == ((False, False), (True, True))
        harness.published(AppointmentRescheduled, times=1, replaces=before)
        assert is_sound()

    def test_keeps_the_booking_when_the_new_time_is_not_to_be_had(self, harness: Harness) -> None:
        arranged(harness, 10)
        row = arranged(harness)
        move(row, slot(harness, 10))
        harness.run()
        now = Appointment.objects.get(id=row.id)
        assert (now.state, now.booking_id, now.wanted_booking_id) == ("confirmed", row.booking_id, None)
        assert "not free" in now.reason
        assert held(row.booking_id) == (True, True)
        assert "stays" in TextMessage.objects.get(reference__startswith="declined").text
        assert is_sound()

    def test_is_refused_for_what_does_not_stand(self, harness: Harness) -> None:
        row = ask(harness)
        assert move(row, slot(harness, 10)).status_code == 409
        harness.run()
        assert move(row, slot(harness)).status_code == 409
        assert [move(row, slot(harness, 10)).status_code for _ in range(2)] == [202, 409]
        assert move(Appointment(id=new_id()), slot(harness)).status_code == 404


class TestCancel:
    def test_ends_both_bookings_during_a_move_and_tells_once(self, harness: Harness) -> None:
        row = arranged(harness)
        harness.fail(book_room, times=3)
        move(row, slot(harness, 10))
        harness.run()
        wanted = Appointment.objects.get(id=row.id).wanted_booking_id
        assert wanted
        assert cancel(row).status_code == 202
        harness.advance("1m")
        assert Appointment.objects.get(id=row.id).state == "cancelled"
        assert {held(row.booking_id), held(wanted)} == {(False, False)}
        harness.published(AppointmentCancelled, times=2)
        assert TextMessage.objects.filter(reference__startswith="cancelled").count() == 1
        assert is_sound()

    def test_may_overtake_the_request(self, harness: Harness) -> None:
        harness.fail("appointments.Booking", times=3)  # the request waits, and what comes after it does not
        row = arranged(harness)
        cancel(row)
        harness.advance("1m")
        assert Appointment.objects.get(id=row.id).state == "cancelled"
        assert cancel(row).status_code == 202
        assert is_sound()

    def test_is_refused_for_what_has_ended(self, harness: Harness) -> None:
        row = arranged(harness, room_kind="mri")
        assert cancel(row).status_code == 409


class TestDoubleBooking:
    def test_of_a_practitioner_is_refused_by_the_streams_version(self, harness: Harness) -> None:
        at = slot(harness)
        plan = plan_id("dr-adams", at)
        seen = PLANS.load(plan).version
        arranged(harness)
        booked = SlotBooked(appointment_id=new_id(), booking_id=new_id(), practitioner="dr-adams", starts_at=at)
        with pytest.raises(WrongVersion), transaction.atomic():
            PLANS.append(plan, booked, expected=seen)  # as one who decided at the same moment

    def test_of_a_room_is_refused_by_a_constraint(self, harness: Harness) -> None:
        arranged(harness)
        again = RoomBooking(room="C1", starts_at=slot(harness), booking_id=new_id(), booked_at=harness.now)
        with pytest.raises(IntegrityError), transaction.atomic():
            again.save()

    def test_finds_one_winner_among_many_who_want_the_last_room(self, harness: Harness) -> None:
        doctors = ("dr-adams", "dr-bauer", "dr-chen")
        rows = [ask(harness, practitioner=each, room_kind="ultrasound") for each in doctors]
        harness.run()
        states = [Appointment.objects.get(id=row.id).state for row in rows]
        assert sorted(states) == ["confirmed", "confirmed", "declined"]
        assert is_sound()


class TestSchedule:
    def test_shows_a_day_as_it_was_known_at_any_time(self, harness: Harness) -> None:
        day = slot(harness)
        first = arranged(harness)
        harness.advance("1h")
        monday = harness.now
        harness.advance("1h")
        cancel(first)
        second = arranged(harness, starts_at=day.replace(hour=11).isoformat())
        path = f"/clinic/schedules/dr-adams/{day:%Y-%m-%d}"
        then, now = (Client().get(path, {"at": at}).json() for at in (monday.isoformat(), ""))
        assert then["slots"] == {"09:00": str(first.booking_id)}
        assert now["slots"] == {"11:00": str(second.booking_id)}
        assert (then["version"], now["version"]) == (1, 3)
        for wrong in ({"at": "yesterday"}, {"at": "2026-01-01T00:00:00"}):
            assert Client().get(path, wrong).status_code == 422

    def test_is_loaded_from_a_snapshot_where_a_day_changes_often(self, harness: Harness) -> None:
        day, ids = slot(harness), {"appointment_id": new_id(), "practitioner": "dr-adams", "starts_at": slot(harness)}
        plan = plan_id("dr-adams", day)
        with transaction.atomic():
            for number in range(21):
                event = (SlotReleased if number % 2 else SlotBooked)(**ids, booking_id=ids["appointment_id"])
                PLANS.append(plan, event, expected=number)
        assert StreamSnapshot.objects.get(stream=PLANS.stream(plan)).version == 20
        assert PLANS.load(plan).state.holder(day) == ids["appointment_id"]


def _append(row: Appointment) -> None:
    plan = plan_id(row.practitioner, row.starts_at)
    other = SlotBooked(
        appointment_id=row.id, booking_id=new_id(), practitioner=row.practitioner, starts_at=row.starts_at
    )
    with transaction.atomic():
        PLANS.append(plan, other, expected=1)


def _forget_timeouts() -> None:
    ScheduledMessage.objects.all().delete()


class TestProjections:
    def test_agenda_is_built_from_history_while_patients_go_on_asking(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(building, "STREAMS_PER_STEP", 1)
        first, gone = arranged(harness), arranged(harness, 10, practitioner="dr-bauer")
        cancel(gone)
        harness.run()
        assert agenda.generation == 0
        building.begin(agenda)
        for doctor in ("dr-adams", "dr-bauer", "dr-chen"):
            building._step(agenda)
            arranged(harness, 11, practitioner=doctor)
        build()
        arranged(harness, 12)
        rows = AgendaEntry.objects.filter(generation=agenda.generation).order_by("starts_at", "practitioner")
        assert list(rows.values_list("practitioner", "starts_at__hour")) == [
            ("dr-adams", 9), ("dr-adams", 11), ("dr-bauer", 11), ("dr-chen", 11), ("dr-adams", 12),
        ]  # fmt: skip
        assert rows[0].booking_id == first.booking_id

    def test_utilisation_is_added_later_and_counts_what_was_before(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        day = slot(harness).date()
        with monkeypatch.context() as earlier:  # the release before, which has the agenda only
            earlier.setattr(building, "all_projections", lambda: [agenda])
            rows = [arranged(harness, hour) for hour in (9, 10)]
            cancel(rows[0])
            arranged(harness, 9, practitioner="dr-bauer")
            build()
            assert (agenda.generation, utilisation.generation) == (1, 0)
            assert Client().get(f"/clinic/utilisation/{day}").json()["used_share"] == 0
        build()  # the deploy
        arranged(harness, 11)
        found = DayUse.objects.filter(generation=utilisation.generation).order_by("practitioner")
        assert list(found.values_list("practitioner", "booked", "given_back")) == [
            ("dr-adams", 2, 1),
            ("dr-bauer", 1, 0),
        ]
        assert Client().get(f"/clinic/utilisation/{day}").json() == {"day": str(day), "used_share": 0.075}
        assert Client().get("/clinic/utilisation/someday").status_code == 422
        assert agenda.generation == 1


class TestVerify:
    @pytest.mark.parametrize(
        ("damage", "word"),
        [
            (lambda row: RoomBooking.objects.update(released_at=row.requested_at), "has its slot and its room"),
            (lambda row: SagaInstance.objects.update(state="cancelled"), "neither"),
            (lambda row: Appointment.objects.update(state="declined"), "its booking's"),
            (lambda row: Appointment.objects.update(state="requested"), "gets somewhere"),
            (_append, "no practitioner"),
        ],
    )
    def test_sees_what_is_wrong(self, harness: Harness, damage: Callable[[Appointment], Any], word: str) -> None:
        row = arranged(harness)
        damage(row)
        if word == "gets somewhere":
            _forget_timeouts()
        assert any(word in each.name for each in verify().invariants if each.violations)


class TestTraffic:
    def test_ends_in_order_whatever_fails(self, harness: Harness) -> None:
        maker = AppointmentMaker(seed=186, today=harness.now, failing_share=0.5)
        for number, failure in enumerate(["", *FAILURES]):
            step(maker, number, failure=failure)
        harness.run()
        for number in range(10, 22):
            step(maker, number)
            harness.run()
        harness.advance("15m")
        assert is_sound()
        states = set(Appointment.objects.values_list("state", flat=True))
        assert states == {"confirmed", "declined", "cancelled", "scheduled"}
        harness.published(AppointmentRescheduled)
        harness.finish()
        assert not SagaInstance.objects.filter(ended_at=None).exists()
        assert is_sound()
