from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class EcommerceConfig(AppConfig):
    """The order flow (R1) as choreography and as a saga; see docs/flows/ecommerce.md."""

    name = "examples.ecommerce"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_fill_shelves, sender=self)


def _fill_shelves(using: str, **_: Any) -> None:
    from examples.ecommerce.inventory import stock

    stock.open_warehouse(using=using)
