from __future__ import annotations

import json
from typing import Any

from messaging.contracts.redaction import MARK, mask, unmask

NAME = "tests.PassengersBoarded"
BOARDED: dict[str, Any] = {
    "train": "ICE 1",
    "guard": "Grace",
    "seats": [{"number": 1, "passenger": "Ada"}, {"number": 2, "passenger": "Alan"}],
    "phones": {"ada": "555-1", "alan": "555-2"},
}


def masked(data: Any) -> Any:
    from tests import factories  # noqa: F401  declares the contract

    return json.loads(mask(NAME, 1, json.dumps(data).encode()))


class TestMask:
    def test_hides_every_sensitive_value_and_says_what_it_is(self) -> None:
        shown = masked(BOARDED)
        assert shown["train"] == "ICE 1"
        assert shown["guard"] == {MARK: "name, 5 characters"}
        assert shown["seats"][1] == {"number": 2, "passenger": {MARK: "name, 4 characters"}}
        assert set(shown["phones"]) == {"ada", "alan"}
        assert not any(secret in json.dumps(shown) for secret in ("Grace", "Ada", "Alan", "555"))

    def test_shows_that_nothing_is_there(self) -> None:
        assert masked({**BOARDED, "guard": None})["guard"] is None
        assert "guard" not in masked({"train": "ICE 1"})

    def test_hides_a_value_of_the_wrong_type_too(self) -> None:
        shown = masked({"guard": ["Grace"], "seats": [{"passenger": {"first": "Ada"}}], "phones": {"a": 555}})
        assert not any(secret in json.dumps(shown) for secret in ("Grace", "Ada", "555"))

    def test_hides_a_body_that_cannot_be_read_as_a_whole(self) -> None:
        assert MARK in json.loads(mask(NAME, 1, b'{"guard": "Grace'))

    def test_leaves_a_body_of_an_unknown_contract_as_it_is(self) -> None:
        assert mask("tests.Nothing", 1, b"{") == b"{"


class TestUnmask:
    def test_puts_back_what_was_not_touched(self) -> None:
        assert unmask(masked(BOARDED), BOARDED) == BOARDED

    def test_keeps_what_was_typed_instead(self) -> None:
        edited = masked(BOARDED)
        edited["seats"][0]["passenger"] = "Barbara"
        edited["train"] = "ICE 2"
        restored = unmask(edited, BOARDED)
        assert restored["seats"] == [{"number": 1, "passenger": "Barbara"}, {"number": 2, "passenger": "Alan"}]
        assert restored["train"] == "ICE 2"

    def test_leaves_a_mask_that_nothing_belongs_to(self) -> None:
        assert unmask({"other": {MARK: "name"}}, BOARDED) == {"other": {MARK: "name"}}

    def test_guesses_nothing_when_items_were_taken_out_or_added(self) -> None:
        edited = masked(BOARDED)
        del edited["seats"][0]
        assert unmask(edited, BOARDED)["seats"] == [{"number": 2, "passenger": {MARK: "name, 4 characters"}}]
        edited = masked(BOARDED)
        edited["seats"].insert(0, {"number": 3, "passenger": "Tim"})
        assert "Ada" not in json.dumps(unmask(edited, BOARDED)["seats"])
