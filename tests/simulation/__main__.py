"""``python -m tests.simulation``: play seeds, print the counts; the exit status is 1 when an invariant broke."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation import seeds
from tests.simulation.forks import FORKING, in_forks
from tests.simulation.invariants_of_mutants import BREAKS, FIRST_SEEDS
from tests.simulation.seeds import Played

BATCH = 10
SHOWN = 60
"""Last lines of the trace that a failure prints."""
MOST_SEEDS = 400
"""Seeds in which a mutant must be found."""


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of a set of names must not decide what happens
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    given = _arguments()
    began = time.monotonic()
    seeds.prepare()
    if given.mutants is not None:
        return _find_all(given)
    total, broken = Counter[str](), 0
    for played in _play_twice(given.seed, given.trace) if given.seed is not None else _play(given):
        total += played.faults + Counter(seeds=1, steps=played.steps)
        total += Counter({f"{name} ": count for name, count in played.counts.items()})
        if played.violations:
            broken += 1
            _show(played)
        if broken >= given.most:
            break
    _say(_closing_line(total, broken, time.monotonic() - began))
    return 1 if broken else 0


def _play(given: argparse.Namespace) -> Iterator[Played]:
    first = given.first or 1
    wanted = range(first, first + given.seeds)
    with ProcessPoolExecutor(given.jobs, FORKING) as pool:
        try:
            yield from filter(None, pool.map(seeds.play_one, wanted, chunksize=BATCH))
        finally:
            pool.shutdown(cancel_futures=True)


def _play_twice(seed: int, shows_trace: bool) -> Iterator[Played]:
    """Play one seed in two processes: a failure that does not come again could not be studied."""
    found: list[Played] = [played for _, played in in_forks([partial(seeds.play_one, seed, True)] * 2, 2) if played]
    if shows_trace:
        _say("\n".join(found[0].trace))
    if found[0].digest != found[1].digest:
        raise SystemExit(f"Seed {seed} played differently the second time: {_first_difference(*found)}")
    yield found[0]


def _find_all(given: argparse.Namespace) -> int:
    """Look for each mutant, and say which seed found it and by what; 1 when one was not found by its invariant."""
    names: list[str] = given.mutants or list(BREAKS)
    searches = [partial(seeds.find, name, _seeds_for(name, given.first)) for name in names]
    missed = 0
    for number, played in in_forks(searches, given.jobs):
        broke = {violation.partition(" ")[0] for violation in played.violations} if played else set()
        missed += not broke & set(BREAKS[names[number]])
        seed = f"seed {played.seed} breaks {', '.join(sorted(broke))}" if played else "nothing breaks"
        _say(f"Without the {names[number]}: {seed}")
        if played and given.trace:
            _show(played)
    return 1 if missed else 0


def _seeds_for(mutant: str, first: int | None) -> range:
    begin = first or FIRST_SEEDS.get(mutant, 1)
    return range(begin, begin + MOST_SEEDS)


def _first_difference(one: Played, other: Played) -> str:
    pairs = zip(one.trace, other.trace, strict=False)
    return next((f"{left!r}, then {right!r}" for left, right in pairs if left != right), "one ended earlier")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one, twice, and compare")
    parser.add_argument("--trace", action="store_true", help="print the steps of what --seed or --mutants found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, one for each core")
    parser.add_argument("--most", type=int, default=3, help="stop after so many failures")
    parser.add_argument("--mutants", nargs="*", help="take these safeguards out, or each: all must be found")
    return parser.parse_args()


def _show(played: Played) -> None:
    faults = ", ".join(f"{count} {name}" for name, count in sorted(played.faults.items())) or "none"
    _say(f"\nseed {played.seed} broke after {played.steps} steps (faults: {faults}); its last steps:")
    _say("\n".join(played.trace[-SHOWN:]))
    _say("\n".join(f"  {violation}" for violation in played.violations[:20]))
    _say(f"  replay it: make simulate SEED={played.seed}   (trace {played.digest})\n")


def _closing_line(total: Counter[str], broken: int, seconds: float) -> str:
    faults = sum(total[name] for name in ("deaths", "stalls", "cuts", "lost", "doubled", "refused"))
    return (
        f"{total['seeds']} seeds, {total['steps']} steps, {faults} faults ({total['deaths']} deaths,"
        f" {total['stalls']} stalls, {total['cuts']} lost connections, {total['lost']} lost and {total['doubled']}"
        f" doubled hints), {total['messages ']} messages, {total['handled ']} handled, {total['dead_lettered ']}"
        f" dead-lettered, {total['operations ']} operations in {seconds:.0f} s: {broken} broke"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
