"""The admin's sections, in the order in which an operator needs them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

_BUS = (
    ("Dead letters", "warning", "messaging_deadletter"),
    ("Messages", "mail", "messaging_message"),
    ("Attempts", "replay", "messaging_attempt"),
    ("Quarantine", "gpp_maybe", "messaging_quarantinedmessage"),
    ("Consumers", "power", "messaging_consumerstate"),
    ("Processes", "memory", "messaging_worker"),
    ("Audit", "verified_user", "messaging_auditrecord"),
)
_PEOPLE = (("Users", "person", "auth_user"), ("Groups", "group", "auth_group"))


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: the console, the bus, and for administrators the people."""
    user: Any = request.user
    # Every path begins with the console's, which would mark it as the current one.
    back = {"title": "Back to the console", "icon": "arrow_back", "link": reverse("overview"), "active": False}
    sections: list[dict[str, Any]] = [
        {"items": [back]},
        {"title": "Bus", "separator": True, "items": _items(_BUS)},
    ]
    if user.has_perm("auth.view_user"):
        sections.append({"title": "People", "separator": True, "items": _items(_PEOPLE)})
    return sections


def _items(entries: tuple[tuple[str, str, str], ...]) -> list[dict[str, Any]]:
    return [
        {"title": title, "icon": icon, "link": reverse(f"admin:{model}_changelist")} for title, icon, model in entries
    ]
