"""Filters: what a subscription wants, in the vocabulary of Amazon SNS."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from messaging import Event, consumer
from messaging.errors import ConfigurationError
from messaging.filters import Facts, checked, refused, wants

HEADERS = {"region": "eu", "app.name": "shop", "retries": "3"}
ENVELOPE = {"type": "shop.OrderPlaced", "version": 2, "tenant": "", "key": None}
BODY = {
    "total": "120.50", "count": 3, "ratio": Decimal("0.1"), "is_gift": True, "note": None,
    "customer": {"country": "DE", "address": "10.1.2.3"},
    "items": [{"sku": "MUG-BLUE", "tags": ["new", "sale"]}, {"sku": "TEE-RED", "tags": []}],
    "headers": "a field of that name", "empty": [],
}  # fmt: skip


def passes(**given: Any) -> bool:
    wanted = {path.replace("__", "."): conditions for path, conditions in given.items()}
    return wants(checked(wanted), Facts(envelope=ENVELOPE, headers=HEADERS, body=BODY))


class TestWants:
    @pytest.mark.parametrize(
        ("path", "conditions", "expected"),
        [
            ("customer.country", ["DE"], True),
            ("customer.country", ["FR", "DE"], True),
            ("customer.country", ["FR"], False),
            ("customer.city", ["Berlin"], False),
            ("count", [3], True),
            ("count", [3.0], True),
            ("count", ["3"], False),
            ("is_gift", [True], True),
            ("is_gift", [1], False),
            ("count", [True], False),
            ("note", [None], True),
            ("items.sku", ["TEE-RED"], True),
            ("items.tags", ["sale"], True),
            ("items.sku", ["CAP"], False),
            ("headers.region", ["eu"], True),
            ("headers.app.name", ["shop"], True),
            ("headers.nothing", ["eu"], False),
            ("body.headers", ["a field of that name"], True),
            ("envelope.type", ["shop.OrderPlaced"], True),
            ("envelope.version", [{"numeric": [">", 2]}], False),
            ("envelope.key", [None], True),
            ("total", [{"numeric": [">=", 120.5]}], True),
            ("total", [{"numeric": ["<", 120.5]}], False),
            ("total", [{"numeric": [">", 100, "<=", 120]}], False),
            ("ratio", [{"numeric": ["=", 0.1]}], True),
            ("is_gift", [{"numeric": ["=", 1]}], False),
            ("customer.country", [{"numeric": ["=", 1]}], False),
            ("headers.retries", [{"numeric": [">=", 3]}], True),
            ("items.sku", [{"prefix": "MUG"}], True),
            ("items.sku", [{"suffix": "BLUE"}], True),
            ("items.sku", [{"suffix": "GREEN"}], False),
            ("items.sku", [{"wildcard": "M*G*BLUE"}], True),
            ("items.sku", [{"wildcard": "M.G-BLUE"}], False),
            ("customer.country", [{"equals-ignore-case": "de"}], True),
            ("customer.country", [{"anything-but": ["FR", "IT"]}], True),
            ("customer.country", [{"anything-but": "DE"}], False),
            ("customer.city", [{"anything-but": "DE"}], False),
            ("customer.country", [{"anything-but": {"prefix": "D"}}], False),
            ("customer.country", [{"anything-but": {"prefix": ["A", "B"]}}], True),
            ("customer.country", [{"exists": True}], True),
            ("customer.city", [{"exists": True}], False),
            ("customer.city", [{"exists": False}], True),
            ("empty", [{"exists": False}], True),
            ("note", [{"exists": True}], True),
            ("customer.address", [{"cidr": "10.0.0.0/8"}], True),
            ("customer.address", [{"cidr": "192.168.0.0/16"}], False),
            ("customer.country", [{"cidr": "10.0.0.0/8"}], False),
        ],
    )
    def test_decides(self, path: str, conditions: list[Any], expected: bool) -> None:
        assert wants(checked({path: conditions}), Facts(envelope=ENVELOPE, headers=HEADERS, body=BODY)) is expected

    def test_wants_every_path(self) -> None:
        assert passes(count=[3], customer__country=["DE"])
        assert not passes(count=[3], customer__country=["FR"])

    def test_wants_one_of_the_alternatives(self) -> None:
        assert passes(**{"$or": [{"count": [9]}, {"customer.country": ["DE"]}]})
        assert not passes(**{"$or": [{"count": [9]}, {"customer.country": ["FR"]}]}, count=[3])

    def test_lets_through_what_it_cannot_decide(self) -> None:
        newer = {"count": [{"within-galaxy": "milky way"}]}
        assert wants(newer, Facts(envelope=ENVELOPE, headers={}, body=BODY))

    @pytest.mark.parametrize("body", [None, "text", 3, [1, 2]])
    def test_finds_nothing_in_a_body_that_is_no_object(self, body: Any) -> None:
        assert not wants({"count": [3]}, Facts(envelope=ENVELOPE, headers={}, body=body))

    def test_leaves_a_message_that_is_gone_to_its_consumer(self) -> None:
        row = (1, "id", "shop.mail", '{"count": [3]}', *[None] * 7, None, None, None)
        assert refused([row]) == []


class TestChecked:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, ["filter="]),
            ({"total": []}, ["total", "list"]),
            ({"total": "eu"}, ["total", "list"]),
            ({"a..b": ["x"]}, ["a..b"]),
            ({"total": [{"greater": 3}]}, ["total", "'greater'", "numeric"]),
            ({"total": [{"numeric": [">="]}]}, ["total", "numeric"]),
            ({"total": [{"numeric": ["=>", 3]}]}, ["total", "numeric"]),
            ({"total": [{"numeric": [">=", "3"]}]}, ["total", "numeric"]),
            ({"total": [{"prefix": 3}]}, ["total", "prefix"]),
            ({"total": [{"exists": "yes"}]}, ["total", "exists"]),
            ({"total": [{"cidr": "10.0.0.0/99"}]}, ["total", "cidr"]),
            ({"total": [{"anything-but": {"numeric": [">", 3]}}]}, ["total", "anything-but"]),
            ({"total": [{"prefix": "a", "suffix": "b"}]}, ["total", "one operator"]),
            ({"total": [["a"]]}, ["total"]),
            ({"envelope.colour": ["red"]}, ["envelope.colour", "tenant"]),
            ({"$or": [{"total": [{"greater": 3}]}]}, ["total", "'greater'"]),
            ({"$or": ["x"]}, ["filter="]),
        ],
    )
    def test_names_the_path_and_the_operator(self, given: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(ConfigurationError) as refusal:
            checked(given)
        assert all(word in str(refusal.value) for word in words)


class TestDeclaration:
    def test_refuses_a_field_that_no_contract_has(self) -> None:
        class LampLit(Event, version=1):
            colour: str

        with pytest.raises(ConfigurationError, match=r"'color' is no field of unit\.LampLit; fields are colour"):
            consumer(LampLit, filter={"$or": [{"color.name": ["red"]}]})
