"""The search of /messages as its URL says it: chips are parameters, times are absolute or a named range."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

from django.http import QueryDict

from messaging.queries.messages import MessageFilter, Status

FIELDS = ("type", "status", "correlation", "key", "consumer", "source")
_COLUMN = {"correlation": "correlation_id"}
_WORDS = re.compile(r'([a-z]+):("[^"]*"|\S+)')
RANGES = {
    "15m": (timedelta(minutes=15), "15 min"),
    "1h": (timedelta(hours=1), "1 h"),
    "24h": (timedelta(hours=24), "24 h"),
}
DEFAULT_RANGE = "1h"
_STATUS_WORDS = {"dead-lettered": "dead", "dead_lettered": "dead", "failed": "dead"}


@dataclass(frozen=True, kw_only=True)
class Chip:
    field: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Search:
    where: MessageFilter
    chips: tuple[Chip, ...]
    range: str
    """15m, 1h, 24h, all, or "" for absolute times."""
    as_of: datetime
    problem: str
    """What of the search could not be understood, in words."""

    @property
    def since(self) -> datetime | None:
        return self.where.since

    @property
    def until(self) -> datetime:
        return self.where.until or self.as_of

    @property
    def is_narrowed(self) -> bool:
        return bool(self.chips)

    def without_times(self) -> MessageFilter:
        return replace(self.where, since=None, until=None)


def parse_words(text: str) -> tuple[dict[str, str], str]:
    """Split what was typed into ``field:value`` pairs and the rest."""
    found = {name: value.strip('"') for name, value in _WORDS.findall(text) if name in FIELDS}
    rest = _WORDS.sub(lambda match: "" if match[1] in FIELDS else match[0], text).strip()
    return found, rest


def parse_search(query: QueryDict, *, now: datetime) -> Search:
    """Read the URL. What cannot be understood is named in ``problem`` and not applied."""
    problems: list[str] = []
    given = {name: query.get(name, "").strip()[:200] for name in FIELDS}
    given = {name: value for name, value in given.items() if value}
    values: dict[str, Any] = {_COLUMN.get(name, name): value for name, value in given.items() if name != "status"}
    if status := given.get("status", "").lower():
        status = _STATUS_WORDS.get(status, status)
        if status in get_args(Status):
            values["status"] = given["status"] = status
        else:
            problems.append(f"status:{status} is unknown; use one of {', '.join(get_args(Status))}.")
            del given["status"]
    since, until, name = _times(query, given, now, problems)
    return Search(
        where=MessageFilter(**values, since=since, until=until),
        chips=tuple(Chip(field=field, value=value) for field, value in given.items()),
        range=name,
        as_of=now,
        problem=" ".join(problems),
    )


def _times(
    query: QueryDict, given: dict[str, str], now: datetime, problems: list[str]
) -> tuple[datetime | None, datetime | None, str]:
    since = _moment(query.get("from", ""), "from", problems)
    until = _moment(query.get("to", ""), "to", problems)
    if since and until and since >= until:
        problems.append("from must lie before to.")
        since = until = None
    if since or until:
        return since, until, ""
    # A flow is looked up whole: its index makes that cheap however old it is.
    name = query.get("range") or ("all" if "correlation" in given else DEFAULT_RANGE)
    if name in RANGES:
        return now - RANGES[name][0], None, name
    if name != "all":
        problems.append(f"range {name[:20]} is unknown; use 15m, 1h, 24h or all.")
        return now - RANGES[DEFAULT_RANGE][0], None, DEFAULT_RANGE
    return None, None, "all"


def _moment(text: str, name: str, problems: list[str]) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(f"{name} is not a time; write 2026-11-18T14:02:07 (UTC).")
        return None
    if not datetime(1971, 1, 1, tzinfo=UTC) < moment < datetime(9000, 1, 1, tzinfo=UTC):
        problems.append(f"{name} lies outside the years 1971 to 9000.")
        return None
    return moment


def cursor(query: QueryDict, name: str) -> UUID | None:
    """Read a page's cursor; a broken one means the first page."""
    try:
        return UUID(query.get(name, ""))
    except ValueError:
        return None
