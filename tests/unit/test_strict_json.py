from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.contracts import strict_json
from messaging.errors import Undecodable

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)


def refusal(raw: bytes | str, **options: Any) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        strict_json.loads(raw.encode() if isinstance(raw, str) else raw, **options)
    return caught.value


class TestLoads:
    @given(VALUES)
    def test_reads_back_whatever_json_can_say(self, value: Any) -> None:
        assert strict_json.loads(json.dumps(value).encode()) == value
        assert strict_json.loads(json.dumps(value, ensure_ascii=False).encode()) == value

    @given(st.binary(max_size=200))
    def test_never_raises_anything_but_undecodable(self, raw: bytes) -> None:
        try:
            strict_json.loads(raw)
        except Undecodable as error:
            str(error).encode()

    @given(st.text(alphabet='[]{}":,\\u00dD8fe1-.+NaInity', max_size=60))
    def test_never_accepts_what_cannot_be_written_again(self, text: str) -> None:
        try:
            value = strict_json.loads(text.encode())
        except Undecodable:
            return
        assert json.dumps(value, ensure_ascii=False, allow_nan=False).encode()

    def test_keeps_big_integers_exact(self) -> None:
        assert strict_json.loads(f"[{2**70}, {-(10**999)}]".encode()) == [2**70, -(10**999)]

    def test_keeps_whole_characters_outside_the_basic_plane(self) -> None:
        assert strict_json.loads(b'"\\ud83d\\ude82"') == "\U0001f682"

    def test_takes_an_escaped_backslash_before_u0000_for_text(self) -> None:
        assert strict_json.loads(rb'"\\u0000"') == r"\u0000"

    def test_takes_brackets_in_strings_for_text(self) -> None:
        assert strict_json.loads(json.dumps('"[{' * 100).encode()) == '"[{' * 100


class TestRefusal:
    @pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
    def test_names_the_place_of_a_number_that_is_none(self, literal: str) -> None:
        assert refusal(f'{{"items": [{{"price": {literal}}}]}}').field == "items[0].price"

    @pytest.mark.parametrize("literal", ["1" * 1001, "-" + "1" * 5000])
    def test_names_the_place_of_an_endless_integer(self, literal: str) -> None:
        error = refusal(f'{{"a": {literal}}}')
        assert error.field == "a"
        assert "send it as a string" in str(error)

    def test_names_a_key_given_twice(self) -> None:
        assert refusal('{"data": {"id": 1, "id": 2}}').field == "data.id"

    def test_sees_a_refused_value_hidden_by_a_second_one(self) -> None:
        assert refusal('{"a": NaN, "a": 1}').field == "a"

    def test_takes_differently_escaped_keys_for_the_same(self) -> None:
        assert refusal(r'{"id": 1, "\u0069d": 2}').field == "id"

    @pytest.mark.parametrize("text", [r"\u0000", r"a\u0000b", r"\ud800", r"\uDFFF", r"\ude82\ud83d"])
    def test_names_the_place_of_text_that_cannot_be_stored(self, text: str) -> None:
        assert refusal(f'{{"a": {{"b": ["{text}"]}}}}').field == "a.b[0]"

    @pytest.mark.parametrize("text", [r"\u0000", r"\ud800"])
    def test_shows_a_key_that_cannot_be_stored_escaped(self, text: str) -> None:
        error = refusal(f'{{"{text}": 1}}')
        assert error.field == f'["{text}"]'
        assert str(error).encode()

    @pytest.mark.parametrize("raw", [b'"\x00"', b'"a\nb"', b'{"a": "\x1f"}'])
    def test_names_the_place_of_a_raw_control_character(self, raw: bytes) -> None:
        assert "line 1, column" in str(refusal(raw))

    @pytest.mark.parametrize(
        "raw", [b'{"a": "\xff"}', b'"\xed\xa0\x80"', b'"\xc0\x80"', '"é"'.encode("latin-1"), '"a"'.encode("utf-16")]
    )
    def test_says_which_byte_is_not_utf8(self, raw: bytes) -> None:
        assert "Not UTF-8: byte" in str(refusal(raw))

    def test_refuses_a_byte_order_mark(self) -> None:
        assert "byte order mark" in str(refusal(b"\xef\xbb\xbf{}"))

    @pytest.mark.parametrize("raw", ["", " \n", "{", "[1,]", "{}{}", "{'a': 1}", "01", "tru"])
    def test_refuses_what_is_not_json(self, raw: str) -> None:
        assert refusal(raw).field == ""

    @pytest.mark.parametrize(
        "raw", ["[" * 100_000, '{"a":' * 50_000, "[" * 65 + "]" * 65, '[{"a":' * 33 + "1" + "}]" * 33]
    )
    def test_refuses_depth_before_reading_it(self, raw: str) -> None:
        assert "Nested deeper than 64 levels" in str(refusal(raw))

    def test_takes_depth_up_to_the_limit(self) -> None:
        assert strict_json.loads(b"[" * 64 + b"]" * 64)
        assert "deeper than 2" in str(refusal("[[[]]]", max_depth=2))

    def test_reads_an_endless_string_of_quotes_once(self) -> None:
        # With a quadratic scan this would take hours.
        assert "Unterminated string" in str(refusal('"' + r"\"" * 500_000))

    def test_keeps_the_path_short_enough_to_store(self) -> None:
        deep = "NaN"
        for _ in range(60):
            deep = f'{{"{"k" * 70}": {deep}}}'
        assert len(refusal(deep).field) == 300

    def test_accepts_numbers_that_round_to_zero(self) -> None:
        assert math.isclose(strict_json.loads(b"1e-400"), 0.0)


class TestPathOf:
    @pytest.mark.parametrize(
        ("parent", "step", "path"),
        [
            ("", "data", "data"),
            ("data", "items", "data.items"),
            ("data.items", 0, "data.items[0]"),
            ("data", "a.b", 'data["a.b"]'),
            ("", "\ud800", '["\\ud800"]'),
            ("", "", '[""]'),
        ],
    )
    def test_is_readable(self, parent: str, step: str | int, path: str) -> None:
        assert strict_json.path_of(parent, step) == path
