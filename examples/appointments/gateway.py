"""A gateway for text messages, simulated: the number decides what happens, so it can be repeated."""

from __future__ import annotations

from messaging import PermanentError

SLOW, UNKNOWN = "+4900000001", "+4900000002"
TIMEOUTS = 3
"""For the slow number the gateway answers after this many attempts failed."""


class GatewayTimeout(Exception):
    """The gateway did not answer in time; asking again changes nothing but the wait."""


class UnknownNumber(PermanentError):
    """No network knows the number; only another one can help."""


def send(phone: str, *, reference: str, attempt: int) -> None:
    """Send a text message; the gateway sends each ``reference`` once, however often it is asked.

    Raises:
        GatewayTimeout: succeeds when tried again later.
        UnknownNumber: never succeeds.
    """
    if phone == SLOW and attempt <= TIMEOUTS:
        raise GatewayTimeout(f"No answer from the text gateway within 2 s ({reference}).")
    if phone == UNKNOWN:
        raise UnknownNumber("No network knows this number.")
