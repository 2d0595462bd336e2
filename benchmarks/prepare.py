"""Write the bus's subscriptions, as a deployment does, so that orders placed before the first relay starts count."""

from __future__ import annotations

import django

if __name__ == "__main__":
    django.setup()
    from messaging.subscriptions import synchronise

    synchronise()
