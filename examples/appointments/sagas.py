"""The booking: one saga that gets a slot, a room and the patient's knowledge together, or nothing of it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from examples.appointments.events import (
    SLOT_MINUTES,
    AppointmentCancellationRequested,
    AppointmentCancelled,
    AppointmentConfirmed,
    AppointmentDeclined,
    AppointmentPassed,
    AppointmentRequested,
    AppointmentRescheduled,
    AppointmentRescheduleRequested,
    AppointmentScheduled,
    BookRoom,
    BookSlot,
    Patient,
    PatientNotified,
    Phone,
    Practitioner,
    ReleaseRoom,
    ReleaseSlot,
    RoomBooked,
    RoomRefused,
    RoomReleased,
    SlotBooked,
    SlotRefused,
    SlotReleased,
    SlotStart,
)
from messaging import Event, Retry, Saga, SagaData, State, Step, on, publish, send, starts, timeout, when_all


class BookingData(SagaData):
    booking_id: UUID
    appointment_id: UUID
    replaces: UUID | None = None
    patient: Patient
    phone: Phone
    practitioner: Practitioner
    starts_at: SlotStart
    room: str = ""
    reason: str = ""


class Booking(
    Saga[BookingData],
    correlation="booking_id",
    wrong_state="ignore",  # an answer to a question that is settled: noted in the history, and no failure
    retry=Retry(immediate=2, delays=("5s", "30s")),
):
    """Book slot and room at the same time, in any order, tell the patient; give back what is booked otherwise."""

    arranging = State()
    scheduled = State()
    confirmed = State()
    passed = State(final=True)
    declined = State(final=True)
    cancelled = State(final=True)
    replaced = State(final=True)

    slot = Step(undone_by=SlotReleased)
    room = Step(undone_by=RoomReleased)

    @starts(AppointmentRequested, to=arranging)
    @starts(AppointmentRescheduleRequested, to=arranging)
    def arrange(self, event: AppointmentRequested | AppointmentRescheduleRequested) -> None:
        self.data = BookingData(**event.model_dump(exclude={"room_kind"}))
        ids = {"appointment_id": event.appointment_id, "booking_id": event.booking_id}
        slot = BookSlot(**ids, practitioner=event.practitioner, starts_at=event.starts_at)
        send(slot, key=event.appointment_id)
        send(BookRoom(**ids, room_kind=event.room_kind, starts_at=event.starts_at), key=event.appointment_id)

    @on(SlotBooked, at=arranging, completes=slot)
    def keep_slot(self, event: SlotBooked) -> None: ...

    @on(RoomBooked, at=arranging, completes=room)
    def keep_room(self, event: RoomBooked) -> None:
        self.data.room = event.room

    @when_all(SlotBooked, RoomBooked, at=arranging, to=scheduled)
    def schedule(self) -> None:
        facts = self.data.model_dump(exclude={"reason"})
        if self.data.replaces is None:
            self._tell(AppointmentScheduled(**{key: facts[key] for key in facts if key != "replaces"}))
        else:
            self._tell(AppointmentRescheduled(**facts))

    @on(PatientNotified, at=scheduled, to=confirmed)
    def confirm(self, event: PatientNotified) -> None:
        self._tell(AppointmentConfirmed(appointment_id=event.appointment_id, booking_id=event.booking_id))

    @on(SlotRefused, at=arranging, to=declined, compensates=True)
    @on(RoomRefused, at=arranging, to=declined, compensates=True)
    def decline(self, event: SlotRefused | RoomRefused) -> None:
        self._decline(event.reason)

    @timeout("10m", at=arranging, to=declined, compensates=True)
    def nobody_answers(self) -> None:
        self._decline("the clinic could not arrange it in time")

    @on(
        AppointmentCancellationRequested, at=(arranging, scheduled, confirmed), to=cancelled, compensates=True,
        not_found="defer",  # it may overtake the request that it cancels
    )  # fmt: skip
    def cancel(self, event: AppointmentCancellationRequested) -> None:
        self._cancel(event.reason)

    @timeout("1d", at=scheduled, to=cancelled, compensates=True)
    def patient_is_not_reached(self) -> None:
        self._cancel("the patient could not be reached")

    @on(AppointmentRescheduled, by="replaces", at=(scheduled, confirmed), to=replaced, compensates=True)
    def give_way(self, event: AppointmentRescheduled) -> None: ...

    @timeout(lambda data: data.starts_at + timedelta(minutes=SLOT_MINUTES), at=confirmed, to=passed)
    def its_time(self) -> None:
        self._tell(AppointmentPassed(appointment_id=self.data.appointment_id, booking_id=self.data.booking_id))

    @slot.undo
    def release_slot(self, done: SlotBooked) -> None:
        send(ReleaseSlot(**done.model_dump()), key=done.appointment_id)

    @room.undo
    def release_room(self, done: RoomBooked) -> None:
        send(ReleaseRoom(**done.model_dump(exclude={"room"})), key=done.appointment_id)

    def _decline(self, reason: str) -> None:
        self.data.reason = reason
        self._tell(AppointmentDeclined(**self.data.model_dump(exclude={"room"})))

    def _cancel(self, reason: str) -> None:
        self.data.reason = reason
        self._tell(AppointmentCancelled(**self.data.model_dump(exclude={"room", "replaces"})))

    def _tell(self, event: Event) -> None:
        publish(event, key=self.data.appointment_id)
