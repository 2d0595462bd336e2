"""What may happen to stock: reserve, release, restock. Callers hold a transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from examples.ecommerce.catalogue import ARTICLES, RETIRED, SOLD_OUT
from examples.ecommerce.events import Item
from examples.ecommerce.inventory.models import Reservation, ReservationLine, StockItem, Warehouse

FULL_SHELF = 100_000


class RetiredSku(Exception):
    """The article is no longer sold."""


class StockTaken(Exception):
    """Stock went while it was being reserved; trying again decides anew."""


def open_warehouse(*, using: str = "default") -> None:
    """Put every article of the catalogue on its shelf, once."""
    Warehouse.objects.using(using).get_or_create(name="main")
    items = [StockItem(sku=sku, received=FULL_SHELF, available=FULL_SHELF, restock_to=FULL_SHELF) for sku in ARTICLES]
    items.append(StockItem(sku=SOLD_OUT, received=0, available=0))
    items += [StockItem(sku=sku, received=0, available=0, replaced_by=other) for sku, other in RETIRED.items()]
    StockItem.objects.using(using).bulk_create(items, ignore_conflicts=True)


def reserve(order_id: UUID, items: Iterable[Item]) -> str:
    """Hold the goods of an order; return what is missing, or "" when all is held.

    Raises:
        RetiredSku: an article is no longer sold; an edited order can succeed.
    """
    wanted = Counter[str]()
    for item in items:
        wanted[item.sku] += item.quantity
    _lock()
    shelf = StockItem.objects.in_bulk(list(wanted))
    for sku, quantity in sorted(wanted.items()):
        article = shelf.get(sku)
        if article is not None and article.replaced_by:
            raise RetiredSku(f"{sku} is retired; order {article.replaced_by} instead.")
        if article is None or article.available < quantity:
            return f"{sku} is sold out" if article else f"{sku} is not sold here"
    _hold(order_id, wanted)
    return ""


def _hold(order_id: UUID, wanted: Counter[str]) -> None:
    reservation = Reservation.objects.create(order_id=order_id, reserved_at=timezone.now())
    for sku, quantity in sorted(wanted.items()):
        enough = StockItem.objects.filter(sku=sku, available__gte=quantity)
        if not enough.update(available=F("available") - quantity):
            raise StockTaken(sku)
    ReservationLine.objects.bulk_create(
        ReservationLine(reservation=reservation, sku=sku, quantity=quantity) for sku, quantity in sorted(wanted.items())
    )


def release(order_id: UUID) -> bool:
    """Give the goods of an order back; False when nothing was held (any more)."""
    _lock()
    held = Reservation.objects.filter(order_id=order_id, released_at=None)
    if not held.update(released_at=timezone.now()):
        return False
    for line in ReservationLine.objects.filter(reservation_id=order_id).order_by("sku"):
        StockItem.objects.filter(sku=line.sku).update(available=F("available") + line.quantity)
    return True


def restock() -> None:
    """Fill up every shelf that is less than half full."""
    with transaction.atomic():
        _lock()
        for article in StockItem.objects.filter(restock_to__gt=0, available__lt=F("restock_to") / 2):
            delivered = article.restock_to - article.available
            StockItem.objects.filter(sku=article.sku).update(
                received=F("received") + delivered, available=F("available") + delivered
            )


def _lock() -> None:
    Warehouse.objects.select_for_update().get(name="main")
