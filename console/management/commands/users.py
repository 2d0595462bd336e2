"""``manage.py users``: make and list the people who may sign in."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, cast

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from console.roles import ROLES, Role, generate_password, role_of, set_role
from messaging.management.base import BusCommand


class Command(BusCommand):
    help = "Make, list and change the accounts of the console."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make an account; its password is printed once")
        password = actions.add_parser("password", help="set a new password; it is printed once")
        role = actions.add_parser("role", help="give an account another role")
        listing = actions.add_parser("list", help="list accounts and their roles")
        listing.add_argument("--json", action="store_true", help="print JSON")
        for command in (create, password, role):
            command.add_argument("name", help="the name to sign in with")
        for command in (create, role):
            command.add_argument("--role", choices=ROLES, required=command is role, default="viewer")
        for command in (create, password):
            command.add_argument(
                "--password-stdin",
                action="store_true",
                help="read the password from standard input instead of generating one",
            )

    def handle(self, *, action: str, **options: Any) -> None:
        {"create": self.create, "password": self.password, "role": self.role, "list": self.list}[action](options)

    def create(self, options: dict[str, Any]) -> None:
        name = options["name"]
        user = User(username=name)
        try:
            user.clean_fields(exclude=["password"])
        except ValidationError as error:
            raise CommandError(f"{name!r} is no valid name: {' '.join(error.messages)}") from error
        if User.objects.filter(username__iexact=name).exists():
            raise CommandError(f"{name} exists already. Change it with: manage.py users role {name} --role …")
        self._set_password(user, options)
        set_role(user, cast(Role, options["role"]))
        self.stdout.write(f"{name} can sign in as {options['role']}.")

    def password(self, options: dict[str, Any]) -> None:
        self._set_password(_find(options["name"]), options)

    def role(self, options: dict[str, Any]) -> None:
        set_role(_find(options["name"]), cast(Role, options["role"]))
        self.stdout.write(f"{options['name']} is {options['role']} now.")

    def list(self, options: dict[str, Any]) -> None:
        users = [
            {
                "name": user.username,
                "role": role_of(user),
                "is_active": user.is_active,
                "last_login_at": user.last_login.isoformat() if user.last_login else None,
            }
            for user in User.objects.order_by("username").prefetch_related("groups")
        ]
        if options["json"]:
            self.stdout.write(json.dumps(users, indent=2))
            return
        for user in users:
            state = "" if user["is_active"] else "  (inactive)"
            self.stdout.write(f"{user['name']:<30} {user['role'] or 'no role':<10}{state}")

    def _set_password(self, user: User, options: dict[str, Any]) -> None:
        """Save ``user`` with the password from standard input, the environment, or a generated one."""
        given = (
            sys.stdin.readline().rstrip("\n")
            if options["password_stdin"]
            else os.environ.get("SIGNALBOX_ADMIN_PASSWORD", "")
        )
        if options["password_stdin"]:
            try:
                validate_password(given, user)
            except ValidationError as error:
                raise CommandError(f"The password is refused: {' '.join(error.messages)}") from error
        password = given or generate_password()
        user.set_password(password)
        user.save()
        if not given:
            self.stdout.write(f"Password of {user.username}, shown this once: {password}")


def _find(name: str) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no account {name!r}. See: manage.py users list")
    return user
