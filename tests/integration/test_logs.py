"""Logs say what came of each delivery and which message it was, and never what was in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction

from messaging import PermanentError, logs, publish
from messaging.testing import run_until_idle
from tests.factories import ANNOUNCE, PassengersBoarded, TrainArrived, arrive

pytestmark = pytest.mark.django_db(transaction=True)
Lines = list[dict[str, Any]]


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """Everything logged, a JSON object a line, as production prints it."""
    from logging.config import DictConfigurator

    text = io.StringIO()
    configured: Any = settings.LOGGING
    config = DictConfigurator(configured)
    handler = logging.StreamHandler(text)
    handler.setFormatter(config.configure_formatter(dict(configured["formatters"]["json"])))
    handler.addFilter(logs.DeliveryContext())
    root, deliveries = logging.getLogger(), logging.getLogger("messaging.deliveries")
    levels = root.level, deliveries.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    deliveries.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(levels[0])
    deliveries.setLevel(levels[1])


def lines(printed: io.StringIO, logger: str = "messaging.deliveries") -> Lines:
    every = [json.loads(line) for line in printed.getvalue().splitlines()]
    return [line for line in every if line["logger"] == logger]


class TestDelivery:
    def test_is_logged_as_received_and_handled_with_its_message(self, station: Any, printed: io.StringIO) -> None:
        station.declare()
        [message] = arrive("ICE 1", correlation_id="flow-7")
        run_until_idle()
        found = lines(printed)
        assert [line["message"] for line in found] == ["received", "handled"]
        for line in found:
            assert (line["message_id"], line["consumer"]) == (str(message), ANNOUNCE)
            assert (line["correlation_id"], line["message_type"]) == ("flow-7", TrainArrived.contract_name)
            assert len(line["trace_id"]) == 32

    def test_is_logged_as_retried_and_dead_lettered_with_its_error(self, station: Any, printed: io.StringIO) -> None:
        def handler(event: Any, context: Any) -> None:
            raise ValueError if context.attempt == 1 else PermanentError("no such train")

        station.declare(handler)
        arrive("ICE 1")
        run_until_idle()
        failed = [(line["message"], line["level"], line["error_type"]) for line in lines(printed) if "outcome" in line]
        assert failed == [("retried", "WARNING", "ValueError"), ("dead lettered", "ERROR", "PermanentError")]

    def test_is_not_logged_as_handled_when_its_transaction_rolled_back(
        self, station: Any, printed: io.StringIO
    ) -> None:
        def handler(event: Any, context: Any) -> None:
            if event.train == "ICE 2" and context.attempt == 1:
                raise ValueError

        station.declare(handler)
        arrive("ICE 1", "ICE 2")
        run_until_idle()
        assert sorted(line["message"] for line in lines(printed) if "outcome" in line) == [
            "handled",
            "handled",
            "retried",
        ]

    def test_lends_its_context_to_every_record_of_its_handler(self, station: Any, printed: io.StringIO) -> None:
        def handler(event: Any, context: Any) -> None:
            logging.getLogger("shop.own").info("charging")

        station.declare(handler)
        [message] = arrive("ICE 1")
        run_until_idle()
        [line] = lines(printed, "shop.own")
        assert (line["message"], line["message_id"], line["attempt"]) == ("charging", str(message), 1)

    def test_never_logs_what_was_in_it(self, station: Any, printed: io.StringIO) -> None:
        def handler(event: Any, context: Any) -> None:
            raise ValueError(f"cannot seat {event.guard}")

        station.declare(handler, to=PassengersBoarded)
        with transaction.atomic():
            publish(PassengersBoarded(train="ICE 1", guard="Mata Hari"))
        run_until_idle()
        assert "ValueError" in printed.getvalue()
        assert "Mata Hari" not in printed.getvalue()


class TestText:
    def test_names_the_delivery_in_words(self) -> None:
        record = logging.makeLogRecord({"msg": "handled", "consumer": ANNOUNCE, "run": 2})
        assert logs.DeliveryContext().filter(record)
        assert vars(record)["delivery"] == f" [consumer={ANNOUNCE} run=2]"
