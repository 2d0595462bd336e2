"""The bus imports this module at start; importing the services registers their consumers."""

from examples.ecommerce.billing import consumers as billing
from examples.ecommerce.inventory import consumers as inventory
from examples.ecommerce.notification import consumers as notification
from examples.ecommerce.orders import consumers as orders

__all__ = ["billing", "inventory", "notification", "orders"]
