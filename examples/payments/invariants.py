"""What must hold among the payments at any moment; ``manage.py verify`` checks it.

A payment's messages bear its account as their key, so work on its way, or a dead letter, excuses the account.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connection

from messaging.verification import invariant

_LIMIT = 21
_EXCUSED = """
    SELECT key FROM messaging_delivery WHERE key IS NOT NULL
    UNION SELECT key FROM messaging_outboxentry WHERE key IS NOT NULL
    UNION SELECT key FROM messaging_deadletter WHERE key IS NOT NULL AND state <> 'resolved'"""


@invariant("payments: the lines of every entry cancel out")
def entries_balance() -> Iterator[str]:
    query = """
        SELECT e.id, count(l.id), coalesce(sum(l.amount_cents), 0) FROM payments_journalentry e
        LEFT JOIN payments_journalline l ON l.entry_id = e.id
        GROUP BY e.id HAVING count(l.id) <> 2 OR sum(l.amount_cents) <> 0"""
    for entry, lines, total in _rows(query):
        yield f"entry {entry}: {lines} lines with a sum of {total}"


@invariant("payments: an account's balance is the sum of its lines, and not negative")
def balances_add_up() -> Iterator[str]:
    query = """
        SELECT a.id, a.balance_cents, coalesce(s.total, 0) FROM payments_account a
        LEFT JOIN (SELECT book, sum(amount_cents) AS total FROM payments_journalline GROUP BY book) s ON s.book = a.id
        WHERE a.balance_cents <> coalesce(s.total, 0) OR a.balance_cents < 0"""
    for account, balance, total in _rows(query):
        yield f"account {account}: the balance is {balance}, the sum of its lines {total}"


@invariant("payments: the ledger books an account's payments in the order in which they were initiated")
def entries_are_in_order() -> Iterator[str]:
    query = """
        SELECT account_id, number, payment, before FROM (
            SELECT e.account_id, e.number, p.number AS payment,
                lag(p.number) OVER (PARTITION BY e.account_id ORDER BY e.number) AS before
            FROM payments_journalentry e JOIN payments_payment p ON p.id = e.payment_id
        ) x WHERE before > payment"""
    for account, entry, payment, before in _rows(query):
        yield f"account {account}: entry {entry} books payment {payment} after payment {before}"


@invariant("payments: a confirmed payment is booked with its amount, a rejected one is not booked")
def states_match_the_ledger() -> Iterator[str]:
    query = """
        SELECT p.id, p.state, l.amount_cents FROM payments_payment p
        LEFT JOIN payments_journalentry e ON e.payment_id = p.id
        LEFT JOIN payments_journalline l ON l.entry_id = e.id AND l.book = p.account_id
        WHERE (p.state = 'confirmed' AND (l.amount_cents IS NULL OR l.amount_cents <> -p.amount_cents))
            OR (p.state = 'rejected' AND e.id IS NOT NULL)"""
    for payment, state, amount in _rows(query):
        yield f"payment {payment} is {state}, and the ledger has {amount} for it"


@invariant("payments: every payment is settled and told, on its way, or waits for a person")
def every_payment_gets_somewhere() -> Iterator[str]:
    query = f"""
        SELECT p.id, p.state FROM payments_payment p LEFT JOIN payments_notice n ON n.payment_id = p.id
        WHERE (p.state = 'initiated' OR n.payment_id IS NULL) AND p.account_id NOT IN ({_EXCUSED})"""
    for payment, state in _rows(query):
        yield f"payment {payment} is {state} and untold, and nothing of its account is pending or dead"


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"{query} LIMIT {_LIMIT}")
        return list(cursor.fetchall())
