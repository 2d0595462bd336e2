"""The bus inside a test, without a broker, a second process or waiting: ``harness`` and ``run_until_idle``.

Importing this needs no settings, so that pytest may load ``messaging.testing.plugin`` before Django is set up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from messaging.testing.bus import Harness
    from messaging.testing.naming import ConsumerName

__all__ = ["Harness", "harness", "run_until_idle"]


def __getattr__(name: str) -> Any:
    if name == "Harness":  # for annotations; the import waits until Django is set up
        from messaging.testing.bus import Harness

        return Harness
    raise AttributeError(name)


@contextmanager
def harness(*, consumers: Iterable[ConsumerName] | None = None, at: datetime | None = None) -> Iterator[Harness]:
    """Run the bus on a virtual clock that stands still until it is advanced.

    ``consumers``, names or handlers, limits whom messages are delivered to. ``at`` is the first moment, aware;
    by default it is now.
    """
    from messaging.testing.bus import opened

    with opened(consumers=consumers, at=at) as running:
        yield running


def run_until_idle(*, consumers: list[str] | None = None) -> int:
    """Relay and deliver everything that is due now, in this thread; return how many deliveries were claimed.

    Follow-ups and immediate retries are included; delayed retries wait for their time. ``consumers`` limits whom
    it delivers to.
    """
    from messaging.delivery import presence
    from messaging.testing import driving

    presence.heartbeat_is_on = False  # a thread would go on writing after the test
    return driving.run_until_idle(consumers)
