"""Run the bus inside a test, without a broker or a second process: ``run_until_idle()``."""

from __future__ import annotations

from messaging.consumers import all_consumers
from messaging.database import store
from messaging.delivery import presence
from messaging.delivery.loop import deliver_once

ROUNDS = 10_000


def run_until_idle(*, consumers: list[str] | None = None) -> int:
    """Relay and deliver everything that is due now, in this thread; return how many deliveries were claimed.

    Follow-ups and immediate retries are included; delayed retries wait for their time. ``consumers`` limits whom
    it delivers to.
    """
    presence.heartbeat_is_on = False  # a thread would go on writing after the test
    total = 0
    for _ in range(ROUNDS):
        relayed = store().relay(500).taken
        wanted = [c for c in all_consumers() if consumers is None or c.name in consumers]
        delivered = sum(deliver_once(each) for each in wanted)
        total += delivered
        if not relayed and not delivered:
            return total
    raise AssertionError(f"The bus did not come to rest within {ROUNDS} rounds: a handler keeps publishing.")
