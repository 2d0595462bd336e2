"""What the templates promise to htmx."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

TEMPLATES = Path(settings.BASE_DIR) / "templates"
_TAG = re.compile(r"<\w+(?:\{%.*?%\}|\{\{.*?\}\}|[^<>])*>", re.DOTALL)
THROTTLED = [
    (path.relative_to(TEMPLATES).as_posix(), tag)
    for path in sorted(TEMPLATES.rglob("*.html"))
    for tag in _TAG.findall(path.read_text())
    if "throttle:" in tag
]


class TestThrottledPart:
    @pytest.mark.parametrize("tag", [pytest.param(tag, id=name) for name, tag in THROTTLED])
    def test_is_morphed(self, tag: str) -> None:
        # htmx keeps the throttle with the element: one that its answer replaces reads itself again at every hint.
        assert 'hx-swap="morph:outerHTML"' in tag

    def test_is_found_wherever_the_word_stands(self) -> None:
        words = [path.name for path in TEMPLATES.rglob("*.html") if "throttle:" in path.read_text()]
        assert len({name for name, _ in THROTTLED}) == len(words) >= 20
