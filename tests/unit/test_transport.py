from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from console.celery import transport_options


class TestTransportOptions:
    @pytest.mark.parametrize("scheme", ["amqp", "amqps", "pyamqp"])
    def test_ask_rabbitmq_to_confirm_each_wake_up(self, scheme: str) -> None:
        assert transport_options(f"{scheme}://broker")["confirm_publish"] is True

    def test_of_a_broker_that_is_not_known_are_refused(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="sqs"):
            transport_options("sqs://broker")
