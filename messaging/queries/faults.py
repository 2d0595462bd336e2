"""Which faults are injected now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from messaging.database import store
from messaging.models import InjectedFault
from messaging.settings import options


@dataclass(frozen=True, kw_only=True)
class InjectedFaultRow:
    """Rates are shares from 0 to 1. ``consumer`` is ``*`` for every consumer without a row of its own."""

    consumer: str
    failure_rate: float
    redelivery_rate: float
    crash_rate: float
    wakeup_loss_rate: float
    wakeup_repeat_rate: float
    delay_seconds: float
    until: datetime
    set_at: datetime
    set_by: str
    reason: str

    @property
    def words(self) -> str:
        """What goes wrong, for people."""
        shares = {
            "fail": self.failure_rate, "come again": self.redelivery_rate, "kill their worker": self.crash_rate,
        }  # fmt: skip
        hints = {"lost": self.wakeup_loss_rate, "doubled": self.wakeup_repeat_rate}
        said = [f"{share:.3g} % of runs {what}" for what, each in shares.items() if (share := 100 * each)]
        said += [f"{share:.3g} % of wake-ups are {what}" for what, each in hints.items() if (share := 100 * each)]
        if self.delay_seconds:
            said.append(f"each delivery waits {self.delay_seconds:g} s")
        return ", ".join(said)


def injected_faults() -> tuple[InjectedFaultRow, ...]:
    """Return them by consumer; none, without asking, where faults are not allowed."""
    if not options().allow_faults:
        return ()
    names = InjectedFaultRow.__dataclass_fields__
    rows = InjectedFault.objects.filter(until__gt=store().now()).order_by("consumer").values(*names)
    return tuple(InjectedFaultRow(**row) for row in rows)
