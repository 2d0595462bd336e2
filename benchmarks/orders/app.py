from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class PeerOrders(AppConfig):
    """The orders without the bus: ``messaging`` need not be installed."""

    name = "benchmarks.orders"
    label = "orders"


class BusOrders(PeerOrders):
    """The orders with their event and its consumer."""

    def ready(self) -> None:
        import_module("benchmarks.orders.bus")
