from __future__ import annotations

import pytest

from messaging import Command, Event, consumer
from messaging.checks import check_command_handlers, check_event_names, check_settings, is_past_tense
from messaging.consumers import forget_consumer
from messaging.contracts import model
from messaging.settings import Options, options


@pytest.fixture
def declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with no contract at all."""
    nothing: dict[str, dict[int, type[model.MessageModel]]] = {}
    monkeypatch.setattr(model, "declared", nothing)
    monkeypatch.setattr("messaging.contracts.registry.declared", nothing)


class TestCheckEventNames:
    @pytest.mark.parametrize(
        "name", ["OrderPlaced", "PaymentDeclined", "TrainSent", "OrderPaid", "TicketSold", "ReplyTimedOut"]
    )
    def test_likes_facts(self, name: str) -> None:
        assert is_past_tense(name)

    @pytest.mark.parametrize("name", ["PlaceOrder", "Order", "SendTrain", "SignUp", "Out", "order", ""])
    def test_does_not_like_requests(self, name: str) -> None:
        assert not is_past_tense(name)

    def test_warns_about_an_event_that_is_none(self, declarations: None) -> None:
        class SendTrain(Event, version=1):
            pass

        [warning] = check_event_names()
        assert warning.id == "messaging.W001"
        assert "SendTrain" in warning.msg


class TestCheckCommandHandlers:
    def test_wants_exactly_one_handler(self, declarations: None) -> None:
        class SendTrain(Command, version=1):
            pass

        [nobody] = check_command_handlers()
        assert "has 0 handlers: none" in nobody.msg
        try:
            consumer(SendTrain, name="unit.one")(lambda command, context: None)
            assert check_command_handlers() == []
            consumer(SendTrain, name="unit.two")(lambda command, context: None)
            [many] = check_command_handlers()
            assert "unit.one, unit.two" in many.msg
        finally:
            forget_consumer("unit.one")
            forget_consumer("unit.two")


class TestCheckSettings:
    @pytest.mark.parametrize(
        ("given", "key"),
        [
            ({"chunk_limt": 5}, "chunk_limt"),
            ({"crash_limit": 0}, "crash_limit"),
            ({"poll_seconds": "x"}, "poll_seconds"),
            ({"retry_jitter": 1.5}, "retry_jitter"),
        ],
    )
    def test_names_the_key_that_is_wrong(self, settings: object, given: dict[str, object], key: str) -> None:
        settings.MESSAGING = given  # type: ignore[attr-defined]
        options.cache_clear()
        try:
            [error] = check_settings()
            assert key in error.msg
        finally:
            options.cache_clear()

    def test_is_content_with_the_defaults(self) -> None:
        assert Options().chunk_limit == 100
        assert check_settings() == []
