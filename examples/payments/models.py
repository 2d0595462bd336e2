from __future__ import annotations

from django.db import models


class Account(models.Model):
    """A payer's account. ``balance_cents`` is kept beside the lines that it is the sum of; verify compares them."""

    id = models.CharField(primary_key=True, max_length=20)
    balance_cents = models.BigIntegerField(default=0)
    payments = models.PositiveBigIntegerField(default=0)
    """Payments initiated so far, which numbers them."""
    entries = models.PositiveBigIntegerField(default=0)
    """Entries in the ledger so far, which numbers them."""


class Payment(models.Model):
    """A payment as its holder asked for it, and how it ended."""

    class State(models.TextChoices):
        INITIATED = "initiated"
        CONFIRMED = "confirmed"
        REJECTED = "rejected"

    id = models.UUIDField(primary_key=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveBigIntegerField()
    """Of the account, in the order of the commits."""
    merchant = models.CharField(max_length=40)
    amount_cents = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.INITIATED)
    reason = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=50, blank=True)
    initiated_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "number"], name="payment_number_once")]


class FraudCheck(models.Model):
    """What the scorer answered about one payment."""

    payment_id = models.UUIDField(primary_key=True)
    decision = models.CharField(max_length=16)
    score = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=200, blank=True)
    checked_at = models.DateTimeField()


class JournalEntry(models.Model):
    """Money moved, once: two lines whose amounts cancel out. Never changed."""

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveBigIntegerField()
    payment_id = models.UUIDField(null=True, unique=True)
    """None for a deposit."""
    booked_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "number"], name="entry_number_once")]


class JournalLine(models.Model):
    """One side of an entry. ``book`` is an account, a merchant, or the bank's own clearing."""

    id = models.BigAutoField(primary_key=True)
    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="lines")
    book = models.CharField(max_length=40)
    amount_cents = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["book"], name="journal_line_book")]


class Notice(models.Model):
    """The message that an account's holder got about a payment; the row is the message in this example."""

    payment_id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=16)
    text = models.CharField(max_length=300)
    sent_at = models.DateTimeField()
