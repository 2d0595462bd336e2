"""Text of unknown origin made fit for a page: no lone surrogates, no invisible characters, no endless lines."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2028\u2029\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control, bidirectional and zero-width characters can show a text that is not the one stored."""

LONGEST = 4_000


def visible(text: str) -> str:
    """Spell out what would be invisible or cannot be encoded, as ``\\uXXXX``."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut a long text and say how much is missing."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… {len(text) - longest:,} more characters"


def middle(text: str, head: int = 8, tail: int = 6) -> str:
    """Shorten an id in its middle."""
    return text if len(text) <= head + tail + 2 else f"{text[:head]}…{text[-tail:]}"
