"""Look at dead letters and repair them, through the same guarded operations as the console."""

from __future__ import annotations

import getpass
import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from messaging import contracts
from messaging.errors import OperationRefused
from messaging.management.base import BusCommand
from messaging.operations import (
    Actor,
    BulkResult,
    command_line,
    discard_dead_letters,
    replay_dead_letters,
    resubmit_dead_letter,
)
from messaging.queries.dead_letters import (
    DeadLetterDetail,
    DeadLetterFilter,
    DeadLetterRow,
    get_dead_letter,
    list_dead_letters,
)

_PAGE = 200


class Command(BusCommand):
    help = "Lists, shows, replays, discards and resubmits dead letters."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|discard|resubmit")
        listing = actions.add_parser("list", help="newest first")
        listing.add_argument("--limit", type=int, default=50)
        listing.add_argument("--state", default="", help="open, replaying, resubmitting, resolved, discarded")
        _add_filter(listing)
        showing = actions.add_parser("show", help="one dead letter with its message and traceback")
        showing.add_argument("id", type=UUID)
        showing.add_argument("--json", action="store_true")
        for name, what in (("replay", "run again, unchanged"), ("discard", "give up on purpose")):
            acting = actions.add_parser(name, help=what)
            acting.add_argument("ids", type=UUID, nargs="*", metavar="ID")
            acting.add_argument("--reason", required=name == "discard", default="")
            _add_filter(acting)
        resubmitting = actions.add_parser("resubmit", help="publish an edited copy")
        resubmitting.add_argument("id", type=UUID)
        resubmitting.add_argument("--body", required=True, help="file with the edited data (JSON), or -")
        resubmitting.add_argument("--audience", choices=("failed", "all"), default="failed")
        resubmitting.add_argument("--reason", required=True)
        resubmitting.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except OperationRefused as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        rows = list(_matching(_filter(options, state=options["state"]), limit=options["limit"]))
        if options["json"]:
            self.stdout.write(_json([asdict(row) for row in rows]))
            return
        for row in rows:
            self.stdout.write(f"{row.id}  {row.state:<12}  {row.consumer}  {row.type}  {row.key or '-'}")
            self.stdout.write(f"    {row.error_type}: {row.error_message[:150]}")
        if not rows:
            self.stdout.write("No dead letter matches.")

    def _show(self, options: dict[str, Any]) -> None:
        found = get_dead_letter(options["id"])
        if found is None:
            raise CommandError(f"There is no dead letter {options['id']}.")
        document = {**asdict(found), "body": _masked(found)}
        del document["row_body"]  # the same, unmasked
        if options["json"]:
            self.stdout.write(_json(document))
            return
        traceback = document.pop("traceback")
        for name, value in document.items():
            self.stdout.write(f"{name:<15}  {_json(value) if isinstance(value, dict | list) else value}")
        self.stdout.write(f"\n{traceback}")

    def _replay(self, options: dict[str, Any]) -> None:
        replay(self, _chosen(options), options)

    def _discard(self, options: dict[str, Any]) -> None:
        result = discard_dead_letters(ids=_chosen(options), actor=operator(), reason=options["reason"])
        report(self, result, "discarded", as_json=options["json"])

    def _resubmit(self, options: dict[str, Any]) -> None:
        result = resubmit_dead_letter(
            id=options["id"],
            body=_text(options["body"]),
            actor=operator(),
            reason=options["reason"],
            audience=options["audience"],
        )
        plain = f"Resubmitted as message {result.message_id}."
        self.stdout.write(_json({"message_id": result.message_id}) if options["json"] else plain)


def operator() -> Actor:
    """Return the person at this shell, by the name the operating system gives."""
    try:
        return command_line(getpass.getuser())
    except (KeyError, OSError):  # a container's user id without a name
        return command_line("shell")


def replay(command: BusCommand, ids: list[UUID], options: dict[str, Any]) -> None:
    """Replay dead letters and report; shared with ``manage.py replay``."""
    result = replay_dead_letters(ids=ids, actor=operator(), reason=options["reason"] or "command line")
    report(command, result, "sent to run again", as_json=options["json"])


def report(command: BusCommand, result: BulkResult, done: str, *, as_json: bool) -> None:
    """Print what was done and what was refused; exit with 1 when anything was refused."""
    if as_json:
        command.stdout.write(_json(asdict(result)))
    else:
        command.stdout.write(f"{len(result.done):,} {done}, {len(result.refused):,} refused.")
        for refusal in result.refused:
            command.stdout.write(f"  {refusal.id}: {refusal.why}")
    if result.refused:
        sys.exit(1)


def _add_filter(parser: ArgumentParser) -> None:
    for name in ("fingerprint", "consumer", "type", "key"):
        parser.add_argument(f"--{name}", default="", help=f"those of this {name}")
    parser.add_argument("--json", action="store_true")


def _filter(options: dict[str, Any], *, state: str) -> DeadLetterFilter:
    return DeadLetterFilter(
        state=state,
        fingerprint=options["fingerprint"],
        consumer=options["consumer"],
        type=options["type"],
        key=options["key"],
    )


def _matching(where: DeadLetterFilter, *, limit: int | None) -> Iterator[DeadLetterRow]:
    after: UUID | None = None
    left = limit
    while left is None or left > 0:
        page = list_dead_letters(where, limit=min(_PAGE, left or _PAGE), after=after)
        yield from page.rows
        left = None if left is None else left - len(page.rows)
        after = page.older
        if after is None:
            return


def _chosen(options: dict[str, Any]) -> list[UUID]:
    where = _filter(options, state="open")
    if options["ids"]:
        return list(options["ids"])
    if where == DeadLetterFilter(state="open"):
        raise CommandError("Name dead letters by id, or choose them with --fingerprint, --consumer, --type or --key.")
    return [row.id for row in _matching(where, limit=None)]


def _masked(found: DeadLetterDetail) -> Any:
    body = contracts.mask(found.type, found.version, found.body)
    try:
        return json.loads(body)
    except ValueError:
        return repr(body[:2000])


def _text(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read --body {name}: {error}.") from error


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)
