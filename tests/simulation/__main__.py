"""``python -m tests.simulation``: play seeds, print the counts; the exit status is 1 when an invariant broke."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation import seeds
from tests.simulation.seeds import Played

BATCH = 10
SHOWN = 60
"""Last lines of the trace that a failure prints."""


def main() -> int:
    given = _arguments()
    os.environ["PYTHONHASHSEED"] = "0"  # the order of a set of names must not decide what happens
    began, total, broken = time.monotonic(), Counter[str](), 0
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
    wanted = range(given.first, given.first + given.seeds)
    with _processes(given.jobs, given.mutant) as pool:
        try:
            played = pool.map(seeds.play_one, wanted, chunksize=1 if given.mutant else BATCH)
            yield from filter(None, played)
        finally:
            pool.shutdown(cancel_futures=True)


def _play_twice(seed: int, shows_trace: bool) -> Iterator[Played]:
    """Play one seed in two processes: a failure that does not come again could not be studied."""
    found = []
    for _ in range(2):
        with _processes(1, "") as pool:
            if played := pool.submit(seeds.play_one, seed, True).result():
                found.append(played)
    if shows_trace:
        _say("\n".join(found[0].trace))
    if found[0].digest != found[1].digest:
        raise SystemExit(f"Seed {seed} played differently the second time: {_first_difference(*found)}")
    yield found[0]


def _processes(jobs: int, mutant: str) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, initializer=seeds.prepare, initargs=(mutant,))


def _first_difference(one: Played, other: Played) -> str:
    pairs = zip(one.trace, other.trace, strict=False)
    return next((f"{left!r}, then {right!r}" for left, right in pairs if left != right), "one ended earlier")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one, twice, and compare")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every step")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, one for each core")
    parser.add_argument("--most", type=int, default=3, help="stop after so many failures")
    parser.add_argument("--mutant", default="", help="take this safeguard out")
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
