"""The client's own account of what it asked for and what it was told, in a file beside the system under test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

Answer = Literal["acknowledged", "refused", "unknown"]
"""COMMIT returned; certainly rolled back; the connection ended while COMMIT was under way."""


class Ledger:
    """Appends two lines for each publish: before it, and when its outcome is known."""

    def __init__(self, path: Path) -> None:
        self.next_number = max(read(path).kinds, default=-1) + 1
        self._file = path.open("a", buffering=1)  # a line at a time, so that kill -9 takes none along

    def try_(self, kind: str) -> int:
        number = self.next_number
        self.next_number += 1
        self._file.write(f"{number} tried {kind}\n")
        return number

    def note(self, number: int, answer: Answer) -> None:
        self._file.write(f"{number} {answer}\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Entries:
    """What a ledger says: each number's kind and the client's last word on it."""

    kinds: dict[int, str]
    answers: dict[int, Answer]

    def with_answer(self, answer: Answer) -> set[int]:
        """Return the numbers with this answer; those without any are unknown, their client died meanwhile."""
        return {number for number in self.kinds if self.answers.get(number, "unknown") == answer}

    def counts(self) -> Counter[str]:
        return Counter(self.answers.get(number, "unknown") for number in self.kinds)


def read(path: Path) -> Entries:
    kinds: dict[int, str] = {}
    answers: dict[int, Answer] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        number, word, *rest = line.split(" ", 2)
        if word == "tried":
            kinds[int(number)] = rest[0]
        else:
            answers[int(number)] = cast(Answer, word)
    return Entries(kinds, answers)
