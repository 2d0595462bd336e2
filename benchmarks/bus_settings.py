"""Django settings of the bus: the product's own, console included, with the orders beside its examples."""

from __future__ import annotations

from console.settings import *  # noqa: F403
from console.settings import INSTALLED_APPS as PRODUCT

INSTALLED_APPS = [*PRODUCT, "benchmarks.orders.app.BusOrders"]
