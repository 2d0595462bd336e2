from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from console import tokens
from console.models import ApiToken
from messaging import clock
from messaging.errors import OperationRefused
from messaging.management.base import BusCommand

_LONGEST_DAYS = 3650


class Command(BusCommand):
    """Creates, lists and revokes API tokens."""

    help = "Create, list and revoke API tokens. A token's text is shown once, at its creation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="create a token and print its text")
        create.add_argument("--name", required=True, help="what the audit shows: the program that uses it")
        create.add_argument("--scopes", required=True, help=f"comma separated, of {', '.join(tokens.SCOPES)}")
        create.add_argument("--days", type=int, help="days until it expires; without, it is valid until revoked")
        create.add_argument("--json", action="store_true", dest="as_json")
        listing = actions.add_parser("list", help="show every token, never its secret")
        listing.add_argument("--json", action="store_true", dest="as_json")
        revoke = actions.add_parser("revoke", help="end a token at once")
        revoke.add_argument("token", help="its name or its prefix")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["action"]:
            case "create":
                self._create(options)
            case "list":
                self._list(as_json=options["as_json"])
            case "revoke":
                self._revoke(options["token"])

    def _create(self, options: dict[str, Any]) -> None:
        days: int | None = options["days"]
        if days is not None and not 1 <= days <= _LONGEST_DAYS:
            raise CommandError(f"--days {days}: give 1 to {_LONGEST_DAYS}.")
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        expires_at = clock.now() + timedelta(days=days) if days else None
        try:
            token, text = tokens.create(name=options["name"], scopes=scopes, expires_at=expires_at)
        except OperationRefused as refusal:
            raise CommandError(f"--{refusal.field}: {refusal}") from refusal
        if options["as_json"]:
            self.stdout.write(json.dumps({"token": text, **_row(token)}))
            return
        self.stderr.write(f"Token {token.name} ({', '.join(token.scopes)}); it is shown only now:")
        self.stdout.write(text)

    def _list(self, *, as_json: bool) -> None:
        rows = [_row(token) for token in ApiToken.objects.order_by("name", "created_at")]
        if as_json:
            self.stdout.write(json.dumps(rows))
            return
        if not rows:
            self.stdout.write("No tokens. Create one: manage.py tokens create --name NAME --scopes read,publish")
        for row in rows:
            used = row["last_used_at"] or "never"
            self.stdout.write(f"{row['prefix']}  {row['state']:<8} {row['name']}  {row['scopes']}  last used {used}")

    def _revoke(self, name: str) -> None:
        token = tokens.revoke(name)
        if token is None:
            raise CommandError(f"No token in use has the name or prefix {name!r}; see manage.py tokens list.")
        self.stdout.write(f"Revoked {token.name} ({token.prefix}).")


def _row(token: ApiToken) -> dict[str, str | None]:
    state = "valid" if tokens.is_valid(token, clock.now()) else "revoked" if token.revoked_at else "expired"
    times = {name: getattr(token, name) for name in ("created_at", "expires_at", "last_used_at", "revoked_at")}
    return {
        "prefix": token.prefix,
        "name": token.name,
        "scopes": ",".join(token.scopes),
        "state": state,
        **{name: moment.isoformat(timespec="seconds") if moment else None for name, moment in times.items()},
    }
