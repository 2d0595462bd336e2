"""Django settings of the bus: the product's own, console included, with the orders beside its examples."""

from __future__ import annotations

import os

from console.settings import *  # noqa: F403
from console.settings import INSTALLED_APPS as PRODUCT
from console.settings import MESSAGING as CONFIGURED

INSTALLED_APPS = [*PRODUCT, "benchmarks.orders.app.BusOrders"]
MESSAGING = {**CONFIGURED, "retention_days": int(os.environ.get("BENCH_RETENTION_DAYS", "30"))}
