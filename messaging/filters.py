"""What a subscription wants: filters in the vocabulary of Amazon SNS, checked when declared, decided by the relay.

A filter is a mapping of paths to lists of conditions. Every path must match; of its list one condition must. A path
is one of the body ("customer.country", of lists any element), "headers.<name>", or "envelope.<field>".

What a filter says of a body that goes to the storage is written down while the body is in hand, at the publish: the
relay holds rows that others wait for, so it reads no storage.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from messaging.errors import ConfigurationError

log = logging.getLogger("messaging.filters")
ENVELOPE = ("type", "version", "kind", "source", "tenant", "key", "correlation_id")
OPERATORS = (
    "anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard",
)  # fmt: skip
_COMPARE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "=": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
MOST_CONDITIONS = 200


@lru_cache(maxsize=1000)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


_TEXT_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "prefix": str.startswith,
    "suffix": str.endswith,
    "equals-ignore-case": lambda value, wanted: value.casefold() == wanted.casefold(),
    "wildcard": lambda value, pattern: _glob(pattern).fullmatch(value) is not None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a filter may ask about one message."""

    envelope: Mapping[str, Any]
    headers: Mapping[str, str]
    body: Any = field(default_factory=dict)


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filter as it is stored.

    Raises:
        ConfigurationError: it names the path and the operator that are wrong.
    """
    value: object = given
    if not isinstance(value, Mapping) or not value:
        raise ConfigurationError('filter= is a mapping like {"total": [{"numeric": [">=", 100]}]}.')
    if len(list(_conditions(given))) > MOST_CONDITIONS:
        raise ConfigurationError(f"filter= has more than {MOST_CONDITIONS} conditions.")
    for path, conditions in given.items():
        _check_entry(path, conditions)
    return {str(path): json.loads(json.dumps(conditions, default=str)) for path, conditions in given.items()}


def body_fields(given: Mapping[str, Any]) -> set[str]:
    """Return the first segments of all paths that lead into the body."""
    found: set[str] = set()
    for path, conditions in given.items():
        if path == "$or":
            found |= set().union(*(body_fields(each) for each in conditions))
            continue
        first, _, rest = path.partition(".")
        if first == "body":
            first = rest.partition(".")[0]
        elif first in ("headers", "envelope") and rest:
            continue
        found.add(first)
    return found


def wants(wanted: Mapping[str, Any], facts: Facts) -> bool:
    """Say whether a message passes. What cannot be decided passes: an unneeded delivery beats a lost one."""
    try:
        return all(
            any(wants(each, facts) for each in conditions) if path == "$or" else _matches(path, conditions, facts)
            for path, conditions in wanted.items()
        )
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        log.warning("A filter cannot be decided here, so the message is delivered: %r", error)
        return True


def refused(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, str]]:
    """Return the (message, consumer) pairs whose filter does not want the message.

    Each row: outbox id, message id, consumer, filter, type, version, kind, source, tenant, key, correlation id,
    headers, body, blob. Rows without a consumer have no filter to ask, and of a message that is gone nobody can say.
    """
    found = []
    for _, message_id, consumer, wanted, *envelope, headers, body, blob in rows:
        if consumer is None or body is None:
            continue
        asked = _loaded(wanted)
        if blob is not None and body_fields(asked):
            is_wanted = verdict(asked, _loaded(blob))
        else:
            facts = _facts(envelope, _loaded(headers), bytes(body))
            is_wanted = wants(asked, facts)
        if is_wanted is False:
            found.append((message_id, consumer))
    return found


def passes(asked: Mapping[str, Any], message: Any) -> bool:
    """Say whether the relay would deliver this envelope, whose body is in hand."""
    return wants(asked, _facts_of(message))


def verdicts(asking: Iterable[Mapping[str, Any]], message: Any) -> dict[str, bool]:
    """Return what each of these filters that asks about the body says of an envelope, by the filter's digest."""
    facts = _facts_of(message)
    return {_digest(each): wants(each, facts) for each in asking if body_fields(each)}


def verdict(asked: Mapping[str, Any], blob: Mapping[str, Any]) -> bool | None:
    """Return what this very filter said of a body when it was published; None when it was not asked then."""
    said: Mapping[str, bool] = blob.get("verdicts") or {}
    return said.get(_digest(asked)) if said else None


def _digest(wanted: Mapping[str, Any]) -> str:
    text = json.dumps(wanted, sort_keys=True, default=float)  # numbers come as Decimal or float, by who reads the row
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts_of(message: Any) -> Facts:
    return _facts([getattr(message, name) for name in ENVELOPE], message.headers, message.body)


def _facts(envelope: Sequence[Any], headers: Mapping[str, str] | None, body: bytes) -> Facts:
    return Facts(envelope=dict(zip(ENVELOPE, envelope, strict=True)), headers=headers or {}, body=_body(body))


def _loaded(value: Any) -> Any:
    return _parsed(value) if isinstance(value, str) else value


@lru_cache(maxsize=1000)
def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def _body(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_float=Decimal)
    except ValueError:
        return None


def _matches(path: str, conditions: Sequence[Any], facts: Facts) -> bool:
    values = list(_values(path, facts))
    return any(_holds(condition, values) for condition in conditions)


def _values(path: str, facts: Facts) -> Iterable[Any]:
    first, _, rest = path.partition(".")
    if first == "headers" and rest:
        return [facts.headers[rest]] if rest in facts.headers else []
    if first == "envelope" and rest:
        return [facts.envelope[rest]]
    return _inside(facts.body, (rest if first == "body" and rest else path).split("."))


def _inside(value: Any, steps: Sequence[str]) -> Iterable[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _inside(each, steps)
    elif not steps:
        yield value
    elif isinstance(value, dict) and steps[0] in value:
        yield from _inside(value[steps[0]], steps[1:])


def _holds(condition: Any, values: Sequence[Any]) -> bool:
    if not isinstance(condition, Mapping):
        return any(_is_same(condition, value) for value in values)
    [(operator, operand)] = condition.items()
    if operator == "exists":
        return bool(values) is operand
    return any(_satisfies(operator, operand, value) for value in values)


def _satisfies(operator: str, operand: Any, value: Any) -> bool:
    if operator == "anything-but":
        return not _is_excluded(operand, value)
    if operator == "numeric":
        number = _number(value)
        pairs = zip(operand[::2], operand[1::2], strict=True)
        return number is not None and all(_COMPARE[name](number, Decimal(str(bound))) for name, bound in pairs)
    if operator == "cidr":
        return _is_within(operand, value)
    holds = _TEXT_OPERATORS[operator]
    return isinstance(value, str) and holds(value, operand)


def _is_excluded(operand: Any, value: Any) -> bool:
    if isinstance(operand, Mapping):
        [(operator, texts)] = operand.items()
        return any(_satisfies(operator, text, value) for text in (texts if isinstance(texts, list) else [texts]))
    return any(_is_same(each, value) for each in (operand if isinstance(operand, list) else [operand]))


def _is_same(wanted: Any, value: Any) -> bool:
    """Compare as JSON does: true is not 1, 100 is 100.0, text is no number."""
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    if isinstance(wanted, int | float | Decimal) and isinstance(value, int | float | Decimal):
        return Decimal(str(wanted)) == Decimal(str(value))
    return type(wanted) is type(value) and bool(wanted == value)


def _number(value: Any) -> Decimal | None:
    """Money travels as text (Decimal), so text that is a number counts as one."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _is_within(network: str, value: Any) -> bool:
    try:
        return isinstance(value, str) and ip_address(value) in ip_network(network)
    except ValueError:
        return False


def _conditions(given: Mapping[str, Any]) -> Iterable[Any]:
    for path, conditions in given.items():
        if path == "$or" and isinstance(conditions, list):
            for each in conditions:
                yield from _conditions(each) if isinstance(each, Mapping) else [each]
        else:
            yield from conditions if isinstance(conditions, list) else [conditions]


def _check_entry(path: Any, conditions: Any) -> None:
    if not isinstance(path, str) or not all(path.split(".")):
        raise ConfigurationError(f'filter: {path!r} is no path; write "customer.country" or "headers.region".')
    if not isinstance(conditions, list) or not conditions:
        raise ConfigurationError(f'filter: {path} takes a list of conditions, like ["eu"]; this is {conditions!r}.')
    if path == "$or":
        for each in conditions:
            checked(each)
        return
    first, _, rest = path.partition(".")
    if first == "envelope" and rest not in ENVELOPE:
        raise ConfigurationError(f"filter: {path} is unknown; of the envelope there are {', '.join(ENVELOPE)}.")
    for condition in conditions:
        _check_condition(path, condition)


def _check_condition(path: str, condition: Any) -> None:
    if condition is None or isinstance(condition, str | bool | int | float | Decimal):
        return
    if not isinstance(condition, Mapping) or len(condition) != 1:
        raise ConfigurationError(f"filter: {path}: {condition!r} is neither a value nor one operator with its operand.")
    [(operator, operand)] = condition.items()
    if operator not in OPERATORS:
        raise ConfigurationError(f"filter: {path}: unknown operator {operator!r}; known are {', '.join(OPERATORS)}.")
    wrong = _why_wrong(operator, operand)
    if wrong:
        raise ConfigurationError(f"filter: {path}: {operator} {wrong}, not {operand!r}.")


def _why_wrong(operator: str, operand: Any) -> str:
    if operator == "exists":
        return "" if isinstance(operand, bool) else "takes true or false"
    if operator == "numeric":
        return "" if _is_numeric(operand) else 'takes [">=", 100] or [">", 0, "<=", 100]'
    if operator == "anything-but":
        return "" if _is_exclusion(operand) else 'takes values, or one of prefix, suffix, wildcard: {"prefix": "x"}'
    if operator == "cidr":
        try:
            ip_network(operand)
        except ValueError:
            return 'takes a network like "10.0.0.0/8"'
        return ""
    return "" if isinstance(operand, str) and operand else "takes text"


def _is_numeric(operand: Any) -> bool:
    if not isinstance(operand, list | tuple) or len(operand) not in (2, 4):
        return False
    names, bounds = operand[::2], operand[1::2]
    numbers = all(isinstance(bound, int | float | Decimal) and not isinstance(bound, bool) for bound in bounds)
    return numbers and all(isinstance(name, str) and name in _COMPARE for name in names)


def _is_exclusion(operand: Any) -> bool:
    if isinstance(operand, Mapping):
        return len(operand) == 1 and all(
            operator in _TEXT_OPERATORS and bool(texts) and all(isinstance(text, str) for text in _listed(texts))
            for operator, texts in operand.items()
        )
    return bool(_listed(operand)) and all(isinstance(each, str | int | float | Decimal) for each in _listed(operand))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
