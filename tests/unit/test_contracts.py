from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import ValidationError

from messaging import Command, ConfigurationError, ContractError, Event, consumer, upcast
from messaging.consumers import forget_consumer
from messaging.contracts import model, upcasting
from messaging.contracts.registry import current, decode, find, known, path_of, validate
from messaging.errors import UnknownContract
from tests.factories import TicketSold, TicketSoldOnPaper, TrainArrived


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declarations of a test end with it."""
    monkeypatch.setattr(model, "declared", {name: dict(versions) for name, versions in model.declared.items()})
    monkeypatch.setattr("messaging.contracts.registry.declared", model.declared)
    monkeypatch.setattr(upcasting, "_upcasters", dict(upcasting._upcasters))


class TestEvent:
    def test_is_named_after_its_package_and_class(self) -> None:
        assert (TrainArrived.contract_name, TrainArrived.contract_version) == ("tests.TrainArrived", 1)
        assert (TrainArrived.contract_kind, Command.contract_kind) == ("domain", "command")

    def test_is_a_fact_that_cannot_be_changed(self) -> None:
        event = TrainArrived(train="ICE 1")
        with pytest.raises(ValidationError, match="frozen"):
            event.train = "ICE 2"

    def test_refuses_unknown_fields_and_numbers_that_are_none(self) -> None:
        class SpeedMeasured(Event, version=1):
            speed: float

        with pytest.raises(ValidationError, match="Extra inputs"):
            TrainArrived.model_validate({"train": "ICE 1", "speed": 5})
        with pytest.raises(ValidationError, match="finite"):
            SpeedMeasured(speed=float("nan"))

    def test_refuses_a_version_below_one(self) -> None:
        with pytest.raises(ConfigurationError, match="version=0"):

            class TrackLaid(Event, version=0):
                pass

    def test_is_declared_once_for_a_name_and_version(self) -> None:
        with pytest.raises(ConfigurationError, match=r"tests\.TrainArrived v1 is declared twice"):

            class Other(Event, version=1, name="tests.TrainArrived"):
                pass


class TestRegistry:
    def test_knows_every_version_and_the_current_one(self) -> None:
        found = [(each.name, each.version) for each in known()]
        assert found == sorted(found)
        assert ("tests.TicketSold", 1) in found
        newest = current("tests.TicketSold")
        assert newest is not None
        assert newest.model is TicketSold
        assert current("tests.Nothing") is None

    def test_tells_an_unknown_type_from_an_unknown_version(self) -> None:
        with pytest.raises(UnknownContract, match="Unknown type") as nothing:
            find("tests.Nothing", 1)
        with pytest.raises(UnknownContract, match="this release knows 1, 2") as newer:
            find("tests.TicketSold", 3)
        assert (nothing.value.field, newer.value.field) == ("type", "version")

    def test_has_a_json_schema_for_each(self) -> None:
        assert find("tests.TrainArrived", 1).schema()["required"] == ["train"]

    def test_names_the_field_that_violates(self) -> None:
        with pytest.raises(ContractError) as refused:
            validate("tests.TrainArrived", 1, b'{"train": 5}')
        assert refused.value.field == "train"
        assert path_of(("items", 0, "sku")) == "items[0].sku"

    def test_reads_money_without_losing_a_cent(self) -> None:
        class FarePaid(Event, version=1):
            amount: Decimal

        read = validate("unit.FarePaid", 1, b'{"amount": "12345678901234567.89"}')
        assert isinstance(read, FarePaid)
        assert read.amount == Decimal("12345678901234567.89")


class TestUpcasting:
    def test_lifts_old_data_step_by_step(self) -> None:
        class SeatTakenOld(Event, version=1, name="tests.SeatTaken"):
            seat: str

        class SeatTaken(Event, version=3, name="tests.SeatTaken"):
            number: int
            side: str

        @upcast(SeatTaken, from_version=1)
        def number_seats(data: dict[str, object]) -> dict[str, object]:
            return {"number": int(str(data["seat"]))}

        assert not upcasting.covers("tests.SeatTaken", 1, 3)

        @upcast(SeatTaken, from_version=2)
        def add_side(data: dict[str, object]) -> dict[str, object]:
            return {**data, "side": "left"}

        assert decode("tests.SeatTaken", 1, b'{"seat": "12"}', model=SeatTaken) == SeatTaken(number=12, side="left")
        assert decode("tests.SeatTaken", 2, b'{"number": 3}') == SeatTaken(number=3, side="left")
        assert isinstance(validate("tests.SeatTaken", 1, b'{"seat": "12"}'), SeatTakenOld)

    @pytest.mark.parametrize("body", [b"{}", b"[]", b'{"seat": "first"}', b"null"])
    def test_blames_old_data_that_cannot_be_lifted(self, body: bytes) -> None:
        class SeatTaken(Event, version=2, name="tests.SeatTaken"):
            number: int

        @upcast(SeatTaken, from_version=1)
        def number_seats(data: dict[str, object]) -> dict[str, object]:
            return {"number": int(str(data["seat"]))}

        with pytest.raises(ContractError, match="v1 failed"):
            decode("tests.SeatTaken", 1, body)

    def test_has_one_function_for_each_step(self) -> None:
        with pytest.raises(ConfigurationError, match="two upcasters"):

            @upcast(TicketSold, from_version=1)
            def another(data: dict[str, object]) -> dict[str, object]:
                return data

    def test_does_not_go_back(self) -> None:
        with pytest.raises(UnknownContract):
            decode("tests.TicketSold", 2, b"{}", model=TicketSoldOnPaper)


class TestConsumer:
    @pytest.mark.parametrize(
        ("arguments", "given", "problem"),
        [
            ((), {}, "needs the event"),
            ((str,), {}, "needs the event"),
            ((TrainArrived,), {"guarantee": "at_best"}, "at_best"),
        ],
    )
    def test_is_refused_when_declared_wrongly(
        self, arguments: tuple[type], given: dict[str, str], problem: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=problem):
            consumer(*arguments, **given)

    def test_has_a_name_of_its_own(self) -> None:
        try:
            consumer(TrainArrived, name="station.one")(lambda event, context: None)
            with pytest.raises(ConfigurationError, match=r"Two consumers are named station\.one"):
                consumer(TrainArrived, name="station.one")(print)
        finally:
            forget_consumer("station.one")
