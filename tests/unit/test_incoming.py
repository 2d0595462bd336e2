from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import ContractError
from messaging.incoming import CLOUDEVENTS, OWN, UnknownField, UnsupportedContentType, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def own(**fields: Any) -> bytes:
    return json.dumps({"type": "yard.TrainMoved", "version": 1, "data": {"a": 1}} | fields).encode()


def cloud(**fields: Any) -> bytes:
    event = {"specversion": "1.0", "id": "1", "source": "urn:yard", "type": "yard.TrainMoved.v3", "data": {"a": 1}}
    return json.dumps(event | fields).encode()


class TestRead:
    @given(st.binary())
    def test_raises_nothing_but_a_contract_error_on_any_bytes(self, raw: bytes) -> None:
        for content_type in (OWN, CLOUDEVENTS):
            with pytest.raises(ContractError):
                read(raw, content_type=content_type)

    @given(st.dictionaries(st.sampled_from(["type", "version", "data", "id", "key", "occurred_at", "x"]), JSON))
    def test_raises_nothing_else_on_any_document(self, document: dict[str, Any]) -> None:
        raw = json.dumps(document).encode()
        for content_type in (OWN, CLOUDEVENTS):
            with suppress(ContractError):
                read(raw, content_type=content_type)

    @pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
    def test_takes_its_own_form(self, content_type: str) -> None:
        incoming = read(own(id="m-1", key="k"), content_type=content_type)
        assert (incoming.type, incoming.version, incoming.id, incoming.key) == ("yard.TrainMoved", 1, "m-1", "k")
        assert json.loads(incoming.data) == {"a": 1}

    def test_takes_a_cloud_event_and_its_version_from_the_type(self) -> None:
        incoming = read(cloud(subject="track 4", rush=True), content_type=CLOUDEVENTS)
        assert (incoming.type, incoming.version, incoming.key) == ("yard.TrainMoved", 3, "track 4")
        assert incoming.headers == {"ce-rush": "True"}

    def test_prefers_the_version_that_is_given(self) -> None:
        incoming = read(cloud(dataversion=2), content_type=CLOUDEVENTS)
        assert (incoming.type, incoming.version) == ("yard.TrainMoved.v3", 2)

    @pytest.mark.parametrize(
        ("raw", "field"),
        [
            (own(version="1"), "version"),
            (own(version=True), "version"),
            (own(version=0), "version"),
            (own(type=""), "type"),
            (own(type="x" * 201), "type"),
            (own(data=[]), "data"),
            (own(key=""), "key"),
            (own(id=5), "id"),
            (own(occurred_at="2026-01-01T00:00:00"), "occurred_at"),
            (own(occurred_at="0001-01-01T00:00:00Z"), "occurred_at"),
            (own(occurred_at=5), "occurred_at"),
        ],
    )
    def test_names_the_field_to_blame(self, raw: bytes, field: str) -> None:
        with pytest.raises(ContractError) as refused:
            read(raw, content_type=OWN)
        assert refused.value.field == field

    def test_names_an_unknown_field_and_the_known_ones(self) -> None:
        with pytest.raises(UnknownField, match="sender is an unknown field; known are type, version") as refused:
            read(own(sender="me"), content_type=OWN)
        assert refused.value.field == "sender"

    def test_names_the_content_types_it_takes(self) -> None:
        with pytest.raises(UnsupportedContentType, match="application/cloudevents"):
            read(own(), content_type="text/csv")


class TestDigest:
    def test_is_the_same_for_the_same_message_however_it_is_spaced(self) -> None:
        spaced = json.dumps(json.loads(own()), indent=4).encode()
        assert read(own(), content_type=OWN).digest() == read(spaced, content_type=OWN).digest()

    @pytest.mark.parametrize("change", [{"type": "b"}, {"version": 2}, {"data": {"a": 2}}, {"key": "k"}])
    def test_differs_with_what_is_meant(self, change: dict[str, Any]) -> None:
        assert read(own(), content_type=OWN).digest() != read(own(**change), content_type=OWN).digest()
