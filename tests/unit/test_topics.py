"""The topics of live hints: every part that waits for one is told."""

from __future__ import annotations

import re
from pathlib import Path

from messaging.signals import TOPICS

ROOT = Path(__file__).parents[2]


class TestTopics:
    def test_of_templates_are_known(self) -> None:
        texts = (path.read_text() for path in (ROOT / "templates").rglob("*.html"))
        waited_for = {topic for text in texts for topic in re.findall(r"changed:(\w+) from:", text)}
        assert waited_for - {"any"} <= set(TOPICS)

    def test_of_code_are_known(self) -> None:
        texts = (path.read_text() for path in (ROOT / "messaging").rglob("*.py"))
        sets = [found for text in texts for found in re.findall(r"topics=frozenset\(\{([^}]*)\}\)", text)]
        assert {topic for each in sets for topic in re.findall(r'"(\w+)"', each)} == set(TOPICS)
