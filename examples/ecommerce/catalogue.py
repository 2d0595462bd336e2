"""The articles of the shop, for the shelves, the sample traffic and the tests."""

from __future__ import annotations

from decimal import Decimal

_COLOURS = ("BLACK", "BLUE", "GREEN", "RED", "WHITE")
_KINDS = {
    "BAG": Decimal("39.90"), "CAP": Decimal("19.50"), "LAMP": Decimal("64.00"), "MUG": Decimal("12.95"),
    "NOTEBOOK": Decimal("8.40"), "PEN": Decimal("4.25"), "SHIRT": Decimal("29.00"), "SOCKS": Decimal("9.90"),
}  # fmt: skip
ARTICLES = {f"{kind}-{colour}": price for kind, price in sorted(_KINDS.items()) for colour in _COLOURS}
SOLD_OUT = "POSTER-LIMITED"
RETIRED = {"MUG-CLASSIC": "MUG-BLUE"}
"""Articles that are no longer sold, and what is sold instead."""
