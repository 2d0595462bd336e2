"""Delivery: claim, deliver, decide, settle. ``deliver_waiting`` is what a wake-up runs."""
