"""What a signed-in person may do, read in one statement."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Permission, User
from django.db.models import Q

from messaging.operations import OPERATE, REVEAL, VIEW

CODENAMES = {VIEW: "messaging.view_console", OPERATE: "messaging.operate", REVEAL: "messaging.reveal"}
"""What Django calls the permissions that the guarded operations know."""


def read_once(user: AbstractBaseUser | AnonymousUser) -> None:
    """Read a person's own permissions and those of their groups, for this request.

    Django's backend takes a statement for each, on every page. It looks here first; where it did not, it would read
    them again.
    """
    person = cast(User, user)
    if user.is_anonymous or not person.is_active or person.is_superuser or hasattr(person, "_perm_cache"):
        return
    held = Permission.objects.filter(Q(user=person.pk) | Q(group__user=person.pk)).order_by()
    names = held.values_list("content_type__app_label", "codename")
    person._perm_cache = {f"{app}.{codename}" for app, codename in names}  # type: ignore[attr-defined]  # noqa: SLF001
