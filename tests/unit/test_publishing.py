from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import ContractError, Event
from messaging.ids import id_at, new_id, time_of
from messaging.publishing import encode, wrap
from messaging.tracing import parse
from tests.factories import TrainArrived


class NoteTaken(Event, version=1):
    text: str
    more: Any = None


class TestEncode:
    @given(st.text())
    def test_keeps_every_text_that_can_be_stored_and_refuses_the_rest(self, text: str) -> None:
        note = NoteTaken.model_construct(text=text)
        is_storable = "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
        if is_storable:
            assert NoteTaken.model_validate_json(encode(note)).text == text
        else:
            with pytest.raises(ContractError):
                encode(note)

    @pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "a\\"])
    def test_tells_a_nul_from_its_name(self, text: str) -> None:
        assert NoteTaken.model_validate_json(encode(NoteTaken(text=text))).text == text
        with pytest.raises(ContractError, match="NUL"):
            encode(NoteTaken(text=f"{text}\x00"))

    @pytest.mark.parametrize("more", [{"a\x00": 1}, ["\x00"], {"a": {"b": "\x00"}}])
    def test_finds_a_nul_anywhere(self, more: Any) -> None:
        with pytest.raises(ContractError, match="NUL"):
            encode(NoteTaken(text="x", more=more))


class TestWrap:
    def test_makes_a_trace_of_its_own_in_w3c_form(self) -> None:
        first, second = wrap(TrainArrived(train="a")), wrap(TrainArrived(train="b"))
        assert parse(first.traceparent)
        assert first.traceparent[3:35] != second.traceparent[3:35]
        assert first.correlation_id == str(first.id)
        assert first.causation_id is None

    def test_takes_any_key_as_text(self) -> None:
        assert wrap(TrainArrived(train="a"), key=42).key == "42"
        assert wrap(TrainArrived(train="a")).key is None


class TestTraceparent:
    @pytest.mark.parametrize(
        "value",
        [
            "",
            "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
            "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
            "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
            "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
            "00-" + "1" * 32 + "-" + "1" * 16 + "-01\n",
            "00-" + "1" * 31 + "-" + "1" * 16 + "-01",
        ],
    )
    def test_is_refused_when_it_is_none(self, value: str) -> None:
        assert parse(value) is None

    def test_is_read_as_it_stands(self) -> None:
        value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert parse(value) == value


class TestIds:
    def test_sort_by_time_and_bear_it(self) -> None:
        ids = [new_id() for _ in range(2000)]
        assert ids == sorted(ids)
        assert len(set(ids)) == 2000
        assert all(each.version == 7 for each in ids)
        moment = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
        assert id_at(moment) < new_id()
        assert time_of(new_id()) is not None
        assert time_of(id_at(moment)) is None
