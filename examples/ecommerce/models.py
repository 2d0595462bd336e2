"""Every service keeps its own tables; Django wants to find them all here."""

from examples.ecommerce.billing.models import Charge
from examples.ecommerce.inventory.models import Reservation, ReservationLine, StockItem, Warehouse
from examples.ecommerce.notification.models import Notification
from examples.ecommerce.orders.models import Order

__all__ = ["Charge", "Notification", "Order", "Reservation", "ReservationLine", "StockItem", "Warehouse"]
