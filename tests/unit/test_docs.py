"""The documentation against the code: links lead somewhere, names exist, nothing a user can set or meet is missing."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.dispatch import Signal

import console
import messaging
from messaging import consumers, errors, signals, tasks
from messaging.models import Attempt, DeadLetter, QuarantinedMessage
from messaging.queries import statuses
from messaging.settings import Options

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
READERS, METHODS = {"choice", "text", "flag", "integer", "number", "share", "words"}, {"get", "setdefault"}
DJANGOS_OWN = {"DJANGO_SETTINGS_MODULE"}
DATABASES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


class TestLinks:
    @pytest.mark.parametrize("name", NAMES)
    def test_lead_to_files_and_headings_that_exist(self, name: str) -> None:
        page = ROOT / name
        targets = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", outside_code(page))
        for target in (first or second for first, second in targets):
            if target.startswith(("https://", "http://")):
                continue
            path, _, heading = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{name} links to {target}"
            assert not heading or heading in headings(file), f"{file.name} has no heading #{heading}, linked in {name}"

    def test_of_the_index_cover_every_decision(self) -> None:
        records = {path.name for path in (DOCS / "decisions").glob("0*.md")}
        assert len({name[:4] for name in records}) == len(records), "two decisions have one number"
        assert records == set(re.findall(r"\((0[^)]+\.md)\)", text(DOCS / "decisions" / "README.md")))

    def test_of_the_readme_reach_every_page(self) -> None:
        reached = {page.resolve() for page in walk(ROOT / "README.md")}
        assert {page for page in PAGES if page.resolve() not in reached} == set()


class TestExamples:
    @pytest.mark.parametrize("name", NAMES)
    def test_in_python_can_be_parsed(self, name: str) -> None:
        for block in re.findall(r"^ *```python\n(.*?)^ *```", text(ROOT / name), re.DOTALL | re.MULTILINE):
            ast.parse(dedented(block))

    @pytest.mark.parametrize("name", NAMES)
    def test_call_commands_that_exist(self, name: str) -> None:
        called = set(re.findall(r"manage\.py ([a-z_]+)", text(ROOT / name)))
        assert called <= set(get_commands())

    @pytest.mark.parametrize("name", NAMES)
    def test_call_make_targets_that_exist(self, name: str) -> None:
        page = text(ROOT / name)
        called = re.findall(r"`make ([a-z]+)|^(?:\$ )?make ([a-z]+)", page, re.MULTILINE)
        assert {first or second for first, second in called} <= make_targets()

    def test_name_tests_that_exist(self) -> None:
        assert named_tests()
        for file, test_class, method, _ in named_tests():
            assert (ROOT / file).exists(), file
            assert not test_class or test_class in methods(ROOT / file), f"{file} {test_class}"
            assert not method or method in methods(ROOT / file)[test_class], f"{file} {method}"

    def test_name_the_database_of_tests_that_run_on_one_only(self) -> None:
        for file, test_class, method, note in named_tests():
            if test_class:
                said = {database for database, name in DATABASES.items() if name == note}
                assert said == only_on(ROOT / file, test_class, method), f"{file} {test_class} {method}"

    def test_name_files_that_exist(self) -> None:
        named = re.findall(r"`([a-z]+/[\w/.-]+\.(?:py|md|sql))`", text(DOCS / "development.md"))
        assert [name for name in named if not (ROOT / name).exists()] == []


class TestEnvironment:
    def test_is_documented_with_every_variable_that_is_read(self) -> None:
        assert variables_read() - DJANGOS_OWN <= ticked(DOCS / "operations.md")

    def test_is_documented_with_every_variable_of_the_compose_file(self) -> None:
        used = set(re.findall(r"\$\{([A-Z_]+)", text(ROOT / "docker-compose.yml")))
        assert used <= ticked(DOCS / "operations.md") | variables_in_blocks(DOCS / "operations.md")

    def test_table_names_only_variables_that_are_read(self) -> None:
        listed = {name for row in table(DOCS / "operations.md", "Environment") for name in ticks(row[0])}
        assert listed <= variables_read()


class TestSettings:
    def test_are_documented_with_their_defaults(self) -> None:
        rows = table(DOCS / "operations.md", "MESSAGING settings")
        listed = {ticks(row[0])[0]: ast.literal_eval(ticks(row[1])[0]) for row in rows}
        assert listed == {name: field.default for name, field in Options.model_fields.items()}


class TestNames:
    def test_of_the_public_face_are_documented(self) -> None:
        rows = [*table(DOCS / "reference.md", "`from messaging import ...`"), *table(DOCS / "reference.md", "Errors")]
        listed = {tick.partition("(")[0] for row in rows for tick in ticks(row[0])}
        assert set(messaging.__all__) <= listed

    def test_of_errors_are_those_in_the_code(self) -> None:
        listed = {ticks(row[0])[0] for row in table(DOCS / "reference.md", "Errors")}
        assert listed == set(error_classes())

    def test_of_signals_are_documented(self) -> None:
        declared = {f"messaging.signals.{name}" for name, value in vars(signals).items() if isinstance(value, Signal)}
        assert declared <= ticked(DOCS / "reference.md")

    def test_of_checks_are_documented(self) -> None:
        declared = "".join(text(path) for path in sorted((ROOT / "messaging").rglob("checks.py")))
        ids = set(re.findall(r'id="(messaging\.[EW]\d+)"', declared))
        assert sorted(ids) == sorted(re.findall(r"messaging\.[EW]\d+", text(DOCS / "reference.md"))), "each once"

    def test_of_commands_are_those_in_the_code(self) -> None:
        own = {
            path.stem
            for path in ROOT.glob("*/**/management/commands/[a-z]*.py")
            if not {".venv", ".cache"} & {*path.parts}
        }
        listed = {name for row in table(DOCS / "operations.md", "Commands") for name in ticks(row[0])}
        assert listed == own

    def test_of_scheduled_tasks_are_documented(self) -> None:
        assert {*tasks.SCHEDULE, "messaging.deliver"} <= ticked(DOCS / "operations.md")

    def test_of_make_targets_are_documented(self) -> None:
        listed = {tick for row in table(DOCS / "development.md", "Make") for tick in ticks(row[0])}
        assert listed == {f"make {target}" for target in make_targets()}


class TestStates:
    @pytest.mark.parametrize(
        "choices",
        [Attempt.Outcome, DeadLetter.State, DeadLetter.Reason, QuarantinedMessage.Kind, QuarantinedMessage.State],
    )
    def test_of_the_tables_are_documented(self, choices: type) -> None:
        assert set(choices.values) <= ticked(DOCS / "concepts.md")  # type: ignore[attr-defined]

    def test_of_deliveries_and_their_guarantees_are_documented(self) -> None:
        assert {*typing.get_args(statuses.Status), *consumers.GUARANTEES} <= ticked(DOCS / "concepts.md")


class TestMetrics:
    def test_are_all_documented(self) -> None:
        assert metrics_in_code() <= {without_suffix(name) for name in metrics_listed()}

    @pytest.mark.parametrize("name", NAMES)
    def test_exist_where_they_are_named(self, name: str) -> None:
        named = re.findall(r"\bsignalbox_[a-z_]+[a-z]\b", text(ROOT / name))
        assert {without_suffix(metric) for metric in named} <= metrics_in_code()


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def outside_code(page: Path) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text(page), flags=re.DOTALL)


def dedented(block: str) -> str:
    indent = len(block) - len(block.lstrip(" "))
    body = "\n".join(line[indent:] for line in block.splitlines())
    try:
        ast.parse(body)
    except IndentationError:  # part of a function that the text goes on with
        return "def part():\n" + "\n".join(f"    {line}" for line in block.splitlines())
    return body


@cache
def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def walk(page: Path, seen: set[Path] | None = None) -> set[Path]:
    seen = {page} if seen is None else seen
    for target in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", outside_code(page)):
        linked = (page.parent / target).resolve() if "://" not in target else page
        if linked not in seen and linked.exists():
            seen.add(linked)
            walk(linked, seen)
    return seen


def ticks(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def ticked(page: Path) -> frozenset[str]:
    """Return everything a page writes as code within its text."""
    return frozenset(ticks(re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)))


def variables_in_blocks(page: Path) -> set[str]:
    return set(re.findall(r"export ([A-Z_]+)=", text(page)))


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the rows below a heading, without the table's head."""
    section = text(page).partition(f"## {heading}\n")[2]
    assert section, f"{page.name} has no heading {heading!r}"
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def sources() -> Iterator[Path]:
    for package in ("messaging", "console", "examples"):
        yield from (ROOT / package).rglob("*.py")


@cache
def variables_read() -> frozenset[str]:
    """Return the environment variables that the program reads, by a reader or under a name of ours."""
    names: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.Call) and node.args and is_reader(node.func):
                names |= strings(node.args[0])
            names |= {name for name in strings(node) if name.startswith("SIGNALBOX_")}
    return frozenset(name for name in names if re.fullmatch(r"[A-Z][A-Z_]+[A-Z]", name))


def strings(node: ast.AST) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def is_reader(function: ast.expr) -> bool:
    """Say whether this is a reader of console.environment, or a method of os.environ."""
    if isinstance(function, ast.Name):
        return function.id in READERS
    if not isinstance(function, ast.Attribute):
        return False
    return function.attr in (METHODS if "environ" in ast.unparse(function.value).split(".") else READERS)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text(ROOT / "Makefile"), re.MULTILINE))


def methods(file: Path) -> dict[str, set[str]]:
    classes = (node for node in ast.parse(text(file)).body if isinstance(node, ast.ClassDef))
    return {each.name: {part.name for part in each.body if isinstance(part, ast.FunctionDef)} for each in classes}


@cache
def named_tests() -> frozenset[tuple[str, str, str, str]]:
    """Return file, class and method of the tests that hold the guarantees, and what stands in brackets behind each."""
    pattern = r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:::(\w+))?`(?: \((\w+)\))?"
    return frozenset(re.findall(pattern, text(DOCS / "guarantees.md")))


def only_on(file: Path, test_class: str, method: str) -> set[str]:
    """Return the databases for which a test, its class or its module is marked; the module may give a mark a name."""
    module = ast.parse(text(file)).body
    assigned = {
        ast.unparse(node.targets[0]): ast.unparse(node.value) for node in module if isinstance(node, ast.Assign)
    }
    [found] = [node for node in module if isinstance(node, ast.ClassDef) and node.name == test_class]
    tests = [part for part in found.body if isinstance(part, ast.FunctionDef) and part.name == method]
    decorators = [*found.decorator_list, *(mark for test in tests for mark in test.decorator_list)]
    marks = " ".join([assigned.get("pytestmark", ""), *map(ast.unparse, decorators)])
    return set(re.findall(r"only_on\('(\w+)'\)", re.sub(r"\w+", lambda name: assigned.get(name[0], name[0]), marks)))


def error_classes() -> Iterable[str]:
    for package in (messaging, console):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name and module.name.startswith("messaging"):
                importlib.import_module(module.name)
    waiting: list[type] = [errors.MessagingError]
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        if each.__module__.startswith("messaging"):
            yield each.__name__


@cache
def metrics_in_code() -> frozenset[str]:
    return frozenset(re.findall(r'"(signalbox_[a-z_]+)"', text(ROOT / "console" / "metrics.py")))


def metrics_listed() -> set[str]:
    """Return the metrics of the API's table; a name that begins with _ goes on with the first one's prefix."""
    found: set[str] = set()
    for row in table(DOCS / "api.md", "Health and metrics"):
        names = [tick.partition("{")[0] for tick in ticks(row[0])]
        prefix = "signalbox_consumer"
        found |= {f"{prefix}{name}" if name.startswith("_") else name for name in names if name}
    return found


def without_suffix(metric: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", metric)
