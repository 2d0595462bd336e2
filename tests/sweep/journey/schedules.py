from __future__ import annotations

from messaging import recurring
from tests.sweep.journey.events import DayBegun

DAILY = "journey.daily"
recurring(DAILY, DayBegun(), cron="0 4 * * *")
