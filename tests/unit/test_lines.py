from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.operations.lines import line_of

TEXT = """{
  "train": "ICE 1",
  "seats": [
    {"number": 1,
     "passenger": "a \\"quoted\\" name"},
    {
      "number": 2
    }
  ],
  "a": {"b": [1, 2,
    3]}
}"""


class TestLineOf:
    @pytest.mark.parametrize(
        ("path", "line"),
        [
            ("train", 2),
            ("seats", 3),
            ("seats[0]", 4),
            ("seats[0].passenger", 5),
            ("seats[1]", 6),
            ("seats[1].number", 7),
            ("a.b[2]", 11),
            ("seats[1].passenger", 6),
            ("nothing", 1),
            ("", None),
        ],
    )
    def test_finds_a_value_or_its_nearest_parent(self, path: str, line: int | None) -> None:
        assert line_of(TEXT, path) == line

    @given(st.text(), st.text())
    def test_never_raises(self, text: str, path: str) -> None:
        line_of(text, path)
