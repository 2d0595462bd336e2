"""``python -m tests.sweep``: sweep one set-up and print the counts.

The exit status is 1 when an invariant broke; with --in-turn also when nobody died, or froze, at a failpoint where
somebody was to.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests import servers

if TYPE_CHECKING:
    from tests.sweep.databases import Databases
    from tests.sweep.roles import RolesSweep
    from tests.sweep.runner import Hit, Work

MOST_HITS = 1000
"""No run reaches a failpoint so often; a sweep ends at the first hit that did not come."""


def main() -> int:
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="signalbox-sweep-") as directory:
        _set_up(given, Path(directory))
        return _sweep(given, Path(directory))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--setup", choices=["postgresql", "rabbitmq", "roles", "embedded"], default="postgresql")
    parser.add_argument("--in-turn", type=int, default=1, metavar="N", help="up to N deaths in a run; else one in each")
    parser.add_argument("--first", action="store_true", help="only the first hit of each failpoint")
    parser.add_argument("--later-share", type=float, default=1.0, help="with --in-turn: this part of the later hits")
    parser.add_argument("--share", type=float, default=1.0, help="sweep only this part of the failpoints, by chance")
    parser.add_argument("--frozen-share", type=float, default=1.0, help="freeze only at this part of them, by chance")
    parser.add_argument("--only", type=str.split, default=[], help="names of failpoints, separated by spaces")
    parser.add_argument("--seed", type=int, default=int(time.time() // 86400), help="of that chance; else the day")
    parser.add_argument("--pairs", action="store_true", help="then a second kill in each recovery")
    parser.add_argument("--minutes", type=float, default=0, help="with --pairs: only pairs drawn by the seed, so long")
    parser.add_argument("--template", default="", help="database to copy for each run, prepared if there is none")
    parser.add_argument("--mutant", default="", help="take out a safeguard, see tests/sweep/mutants.py")
    return parser.parse_args()


def _set_up(given: argparse.Namespace, directory: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SIGNALBOX_ROLE", "DEBUG"):
        os.environ.pop(name, None)
    os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.sweep.settings", "SIGNALBOX_HOME": str(directory)}
    os.environ |= {"SECRET_KEY": "of-the-sweep-only-" + "x" * 40, "LOG_LEVEL": "WARNING"}
    # With many deaths in a run one delivery may see several, and is not to blame for them.
    os.environ["SWEEP_CRASH_LIMIT"] = str(2 + given.in_turn)
    if given.setup != "embedded":
        os.environ |= {"DATABASE_URL": servers.postgresql(), "REDIS_URL": servers.redis_url()}
    if given.setup == "rabbitmq":
        os.environ["CELERY_BROKER_URL"] = servers.rabbitmq()
    import django

    django.setup()
    import console.celery  # noqa: F401  makes it the current app


def _sweep(given: argparse.Namespace, directory: Path) -> int:
    from tests.sweep.databases import PostgreSQL, SQLite
    from tests.sweep.roles import RolesSweep
    from tests.sweep.runner import say

    databases: Databases = (
        SQLite(directory) if given.setup == "embedded" else PostgreSQL(os.environ["DATABASE_URL"], given.template)
    )
    if not databases.is_prepared:
        prepare(databases, directory)
    gc.freeze()  # or each collection of a victim copies what it has from here
    began = time.monotonic()
    sweep = RolesSweep(databases, directory, SWEEP_MUTANT=given.mutant)
    say(f"{given.setup}{' without the ' + given.mutant if given.mutant else ''}, seed {given.seed}")
    for _ in steps(sweep, given, lambda name, share: random.Random(f"{given.seed} {name}").random() < share):
        if given.mutant and sweep.result.violations:
            break
    say(sweep.result.closing_line(time.monotonic() - began))
    return 1 if sweep.result.violations or sweep.result.survived else 0


def prepare(databases: Databases, directory: Path) -> None:
    """Migrate the database of which every run gets a copy."""
    from django.core.management import call_command

    from tests.sweep import work
    from tests.sweep.forks import Victim

    def migrate() -> None:
        call_command("migrate", run_syncdb=True, verbosity=0)
        work.leave_claims_behind()

    end = Victim(migrate, database=databases.template, directory=directory).end()
    if not end.is_fine:
        raise SystemExit(f"The database could not be prepared:\n{end.printed}")


def steps(
    sweep: RolesSweep, given: argparse.Namespace, chosen: Callable[[str, float], bool]
) -> Iterator[None]:  # fmt: skip
    """Sweep, one failpoint at a time: those of the delivery path, then those that only the office reaches."""
    from django.db import connection

    from tests.sweep.places import all_places, unreachable
    from tests.sweep.runner import JOURNEY, OFFICE, say

    reached = {JOURNEY: sweep.baseline()}
    yield
    on_path = {name for name, _ in reached[JOURNEY]}
    if given.setup != "roles" and (not given.only or set(given.only) - on_path):
        sweep.work = OFFICE
        reached[OFFICE] = sweep.baseline()
        yield
        nowhere = (
            all_places() - unreachable(connection.vendor) - {name for hits in reached.values() for name, _ in hits}
        )
        say(f"{len(all_places())} failpoints in the bus, reached nowhere: {', '.join(sorted(nowhere)) or 'none'}")
    if given.pairs and given.minutes:
        yield from _drawn(sweep, given, reached)
        return
    for sweep.work, hits in reached.items():
        wanted = [
            (name, hit) for name, hit in hits
            if (sweep.work is JOURNEY or name not in on_path) and (not given.only or name in given.only)
            and chosen(name, given.share)
            and (hit == 1 or (not given.first and chosen(f"{name}:{hit}", given.later_share)))
        ]  # fmt: skip
        if given.in_turn > 1:
            yield from _in_turn(sweep, given, chosen, wanted)
        else:
            yield from _one_by_one(sweep, given, chosen, {name for name, _ in wanted}, {name for name, _ in hits})


def _in_turn(
    sweep: RolesSweep, given: argparse.Namespace, chosen: Callable[[str, float], bool], hits: list[Hit]
) -> Iterator[None]:  # fmt: skip
    """Kill at every hit, several in each run; what other deaths kept from coming has two more chances."""
    from tests.sweep.runner import say

    for freeze in (False, True) if _may_freeze(given) else (False,):
        left = wanted = [hit for hit in hits if not freeze or chosen(hit[0], given.frozen_share)]
        for together in (given.in_turn, given.in_turn, 1):
            runs = -(-len(left) // together)
            missed: set[Hit] = set()
            for first in range(runs):  # those of a run lie apart by so many others
                missed |= {*sweep.kill_in_turn(left[first::runs], freeze=freeze)}
                yield
            left = [hit for hit in left if hit in missed]
        if left:
            say(f"did not come again: {', '.join(f'{name}:{hit}' for name, hit in left)}")
            struck = {name for name, _ in {*wanted} - {*left}}
            sweep.result.survived |= {name for name, _ in left} - struck


def _may_freeze(given: argparse.Namespace) -> bool:
    """Say whether others can go on beside a frozen process: one that writes stops a whole SQLite file."""
    return given.setup in ("postgresql", "rabbitmq")


def _drawn(sweep: RolesSweep, given: argparse.Namespace, hits: dict[Work, list[Hit]]) -> Iterator[None]:
    """Kill at pairs drawn by the seed: any hit of a place, then the first of any in the recovery."""
    from tests.sweep.runner import say

    reached = {work: Counter(name for name, _ in found) for work, found in hits.items()}
    pairs = {work: sum(found.values()) * len(found) for work, found in reached.items()}
    say(f"{sum(pairs.values()):,} pairs of a hit and a second place")
    draw, ends = random.Random(given.seed), time.monotonic() + given.minutes * 60
    while time.monotonic() < ends:
        [sweep.work] = draw.choices(list(pairs), list(pairs.values()))
        found = reached[sweep.work]
        [name] = draw.choices(list(found), list(found.values()))
        sweep.kill_twice(name, draw.randint(1, found[name]), draw.choice(list(found)))
        yield


def _one_by_one(
    sweep: RolesSweep, given: argparse.Namespace, chosen: Callable[[str, float], bool], names: set[str],
    seconds: set[str],
) -> Iterator[None]:  # fmt: skip
    from tests.sweep.runner import say

    for name in sorted(names):
        if given.setup == "roles":
            sweep.kill_role_at(name)
            yield
            continue
        hits = [1] if given.first else range(1, MOST_HITS)
        sweep.kill_at(name, hits, again_at=sorted(seconds) if given.pairs else ())
        yield
        if _may_freeze(given) and chosen(name, given.frozen_share):
            sweep.freeze_at(name, hits)
            yield
    if given.setup == "roles":
        say(f"reached by no role: {', '.join(sorted(names - sweep.result.points)) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
