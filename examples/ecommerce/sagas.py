"""The bus imports this module at start, which declares the saga of orchestrated orders."""

from examples.ecommerce.orders.fulfilment import OrderFulfilment

__all__ = ["OrderFulfilment"]
