"""Roles of people: viewer sees, operator acts, admin also manages accounts. Groups carry the permissions."""

from __future__ import annotations

import os
import secrets
from typing import Any, Literal

from django.apps import AppConfig
from django.apps import apps as installed
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission, User
from django.db import DEFAULT_DB_ALIAS, transaction

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
GROUPS = {"viewer": ("view_console",), "operator": ("view_console", "operate", "reveal")}
"""Each group with its permissions of the messaging app; an admin is an operator and superuser."""

FIRST_OPERATOR = "admin"


def make_groups(app_config: AppConfig, *, using: str = DEFAULT_DB_ALIAS, apps: Apps = installed, **_: Any) -> None:
    """Make the groups and give them their permissions, after each migration; what an admin added stays."""
    # This may run before auth's own receiver, which makes the permissions.
    create_permissions(app_config, using=using, verbosity=0, apps=apps)
    try:
        apps.get_model("auth", "Group")
    except LookupError:  # auth is not migrated yet
        return
    for name, codenames in GROUPS.items():
        group, _created = Group.objects.using(using).get_or_create(name=name)
        permissions = Permission.objects.using(using).filter(
            content_type__app_label="messaging", content_type__model="message", codename__in=codenames
        )
        group.permissions.add(*permissions)


def role_of(user: User) -> Role | None:
    """Return the highest role a person holds."""
    if user.is_superuser:
        return "admin"
    names = {group.name for group in user.groups.all()}
    return "operator" if "operator" in names else "viewer" if "viewer" in names else None


@transaction.atomic
def set_role(user: User, role: Role) -> None:
    """Give a person this role and no other; operators and admins may enter the admin site."""
    user.is_superuser = role == "admin"
    user.is_staff = role != "viewer"
    user.save(update_fields=["is_superuser", "is_staff"])
    user.groups.remove(*Group.objects.filter(name__in=GROUPS))
    user.groups.add(Group.objects.get(name="viewer" if role == "viewer" else "operator"))


def generate_password() -> str:
    """Return a password of 96 random bits, easy to type."""
    return secrets.token_hex(12)


@transaction.atomic
def ensure_first_operator() -> str | None:
    """Make the account "admin" when there is no account at all.

    Returns the generated password, to be shown once; None when the account exists already or
    SIGNALBOX_ADMIN_PASSWORD sets its password.
    """
    if User.objects.exists():
        return None
    given = os.environ.get("SIGNALBOX_ADMIN_PASSWORD", "")
    password = given or generate_password()
    user, is_new = User.objects.get_or_create(username=FIRST_OPERATOR)
    if not is_new:  # another first start got there first
        return None
    user.set_password(password)
    user.save(update_fields=["password"])
    set_role(user, "admin")
    return None if given else password
