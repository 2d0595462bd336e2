"""What ``manage.py check`` says of sagas that could not work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from messaging import Event, Saga, SagaData, State, Step, entering, on, starts, timeout
from messaging.errors import ConfigurationError
from messaging.sagas import all_sagas, forget_saga
from messaging.sagas.checks import errors_of
from messaging.sagas.definition import define


class ParcelSent(Event, version=1):
    parcel: str


class ParcelArrived(Event, version=1):
    parcel: str


class DepotClosed(Event, version=1):
    depot: str


class ParcelData(SagaData):
    parcel: str


def found(cls: type, *, correlation: str = "parcel") -> list[tuple[str, str]]:
    """Return number and words of every error of a class that declares a saga."""
    definition = define(cls, data=ParcelData, correlation=correlation, name="unit.Parcel")
    return [(str(error.id).removeprefix("messaging."), error.msg) for error in errors_of(definition)]


def nothing(self: Any, *message: Any) -> None: ...


class Sound:
    on_the_way = State()
    arrived = State(final=True)
    lost = State(final=True)
    sent = Step()

    sent.undo(nothing)
    begin = starts(ParcelSent, to=on_the_way, completes=sent)(lambda self, event: None)
    end = on(ParcelArrived, at=on_the_way, to=arrived)(lambda self, event: None)
    too_slow = timeout("1d", at=on_the_way, to=lost, compensates=True)(lambda self: None)
    tell = entering(lost)(lambda self: None)


def test_find_nothing_in_a_sound_saga() -> None:
    assert found(Sound) == []


@pytest.mark.django_db
def test_find_nothing_in_the_sagas_of_the_examples() -> None:
    assert all_sagas()
    assert [error for saga in all_sagas() for error in errors_of(saga.definition)] == []


class TestStates:
    def test_that_no_message_starts(self) -> None:
        class Parcel(Sound):
            begin = on(ParcelSent, at=Sound.on_the_way, completes=Sound.sent)(lambda self, event: None)

        assert ("E010", "Saga unit.Parcel: no message starts it.") in found(Parcel)

    def test_that_cannot_be_reached(self) -> None:
        class Parcel(Sound):
            returned = State(final=True)

        assert found(Parcel) == [("E010", "Saga unit.Parcel: state returned cannot be reached.")]

    def test_that_cannot_be_left(self) -> None:
        class Parcel(Sound):
            arrived = State()
            end = on(ParcelArrived, at=Sound.on_the_way, to=arrived)(lambda self, event: None)

        assert found(Parcel) == [("E010", "Saga unit.Parcel: state arrived cannot be left.")]

    def test_that_are_final_and_left_again(self) -> None:
        class Parcel(Sound):
            again = on(ParcelSent, at=Sound.arrived, to=Sound.on_the_way)(lambda self, event: None)

        assert found(Parcel) == [("E010", "Saga unit.Parcel: final state arrived is left again.")]

    def test_to_which_a_compensation_does_not_lead(self) -> None:
        class Parcel(Sound):
            lose = on(ParcelSent, at=Sound.on_the_way, compensates=True)(lambda self, event: None)

        assert found(Parcel) == [("E010", "Saga unit.Parcel: lose compensates but ends nowhere.")]

    @pytest.mark.parametrize("declare", [lambda state: on(ParcelArrived, at=state), entering])
    def test_of_another_saga(self, declare: Any) -> None:
        class Other:
            abroad = State()

        class Parcel(Sound):
            stray = declare(Other.abroad)(nothing)

        assert ("E010", "Saga unit.Parcel: stray names a state of another saga.") in found(Parcel)


class TestCorrelation:
    def test_that_is_no_field_of_the_data(self) -> None:
        messages = found(Sound, correlation="number")
        assert ("E011", "Saga unit.Parcel: correlation='number' is no field of ParcelData.") in messages

    def test_that_a_message_does_not_have(self) -> None:
        class Parcel(Sound):
            close = on(DepotClosed, at=Sound.on_the_way, to=Sound.lost)(lambda self, event: None)

        assert found(Parcel) == [("E011", "Saga unit.Parcel: DepotClosed has no field 'parcel' to find its saga by.")]

    @pytest.mark.parametrize("by", ["depot", lambda event: event.depot])
    def test_that_is_said(self, by: Any) -> None:
        class Parcel(Sound):
            close = on(DepotClosed, at=Sound.on_the_way, to=Sound.lost, by=by)(lambda self, event: None)

        assert found(Parcel) == []


class TestSteps:
    def test_without_a_compensation(self) -> None:
        class Parcel(Sound):
            insured = Step()
            insure = on(ParcelSent, at=Sound.on_the_way, completes=insured)(lambda self, event: None)

        assert found(Parcel) == [("E012", "Saga unit.Parcel: step insured has no compensation.")]

    def test_that_need_none(self) -> None:
        class Parcel(Sound):
            insured = Step(needs_undo=False)
            insure = on(ParcelSent, at=Sound.on_the_way, completes=insured)(lambda self, event: None)

        assert found(Parcel) == []

    def test_that_are_never_completed(self) -> None:
        class Parcel(Sound):
            insured = Step(needs_undo=False)

        assert found(Parcel) == [("E012", "Saga unit.Parcel: step insured is never completed.")]


class TestDeclaring:
    def test_refuses_two_answers_to_one_message_in_one_state(self) -> None:
        class Parcel(Sound):
            also = on(ParcelArrived, at=Sound.on_the_way, to=Sound.lost)(lambda self, event: None)

        with pytest.raises(ConfigurationError, match="both answer ParcelArrived at on_the_way"):
            found(Parcel)

    def test_refuses_a_state_named_like_every_sagas(self) -> None:
        class Parcel(Sound):
            compensating = State()

        with pytest.raises(ConfigurationError, match="is a state of every saga"):
            found(Parcel)


@pytest.fixture
def unsound() -> Iterator[None]:
    class Parcel(Saga[ParcelData], correlation="parcel", name="unit.Parcel"):
        on_the_way = State()

        @starts(ParcelSent, to=on_the_way)
        def begin(self, event: ParcelSent) -> None: ...

    yield
    forget_saga("unit.Parcel")


def test_stop_the_start_of_every_command(unsound: None) -> None:
    with pytest.raises(SystemCheckError, match=r"messaging.E010.*state on_the_way cannot be left"):
        call_command("check")
