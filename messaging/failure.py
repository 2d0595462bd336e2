"""A failure as it is kept: type, message, traceback, the innermost frame of one's own code, and a fingerprint."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MESSAGE_LIMIT = 4_000
TRACEBACK_LIMIT = 60_000
_BUS = str(Path(__file__).resolve().parent)
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong in one attempt. ``location`` is "billing/money.py:88 in minor_units"."""

    type: str
    message: str
    location: str
    traceback: str
    fingerprint: str
    path: str = ""
    """Dotted path of the error's class."""


def describe(error: BaseException, *, consumer: str) -> Failure:
    """Describe an exception. The fingerprint groups by consumer, type and innermost own frame, without its line."""
    kind = type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    innermost = own[-1] if own else frames[-1] if frames else None
    place = f"{_short(innermost.filename)}:{innermost.lineno} in {innermost.name}" if innermost else ""
    group = f"{_short(innermost.filename)} {innermost.name}" if innermost else ""
    text = "".join(traceback.format_exception(error))
    return Failure(
        type=kind[:200],
        message=storable(_text_of(error))[:MESSAGE_LIMIT],
        location=storable(place)[:300],
        traceback=_cut(storable(_relative(text))),
        fingerprint=fingerprint(consumer, kind, group),
        path=f"{type(error).__module__}.{kind}"[:300],
    )


def crash_loop(consumer: str, crashes: int) -> Failure:
    """Describe a delivery during which the process died again and again."""
    return Failure(
        type="CrashLoop",
        message=f"The worker process died {crashes} times while it ran this delivery alone.",
        location="",
        traceback="No traceback: the process was ended from outside, ran out of memory, or crashed in native code.",
        fingerprint=fingerprint(consumer, "CrashLoop", ""),
    )


def fingerprint(consumer: str, kind: str, place: str) -> str:
    return hashlib.sha256(f"{consumer}|{kind}|{place}".encode(errors="replace")).hexdigest()[:8]


def storable(text: str) -> str:
    """Return ``text`` without what no database keeps: NUL and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001  a handler's own class may be broken too
        return f"(its text cannot be had: {type(second).__name__} in __str__)"


def _is_own(filename: str) -> bool:
    return not filename.startswith((_BUS, "<", *_LIBRARIES))


def _short(filename: str) -> str:
    for root in reversed(_roots(tuple(sys.path))):
        if filename.startswith(f"{root}/"):
            return filename[len(root) + 1 :]
    return "/".join(Path(filename).parts[-3:])


def _relative(text: str) -> str:
    for root in _roots((*sys.path, "")):
        if len(root) > 1:
            text = text.replace(f'File "{root}/', 'File "')
    return text


@lru_cache(maxsize=8)
def _roots(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return the directories among ``entries``, the shortest first. A disk is asked once, not for every failure."""
    return tuple(sorted((str(Path(entry).resolve()) for entry in entries if Path(entry).is_dir()), key=len))


def _cut(text: str) -> str:
    if len(text) <= TRACEBACK_LIMIT:
        return text
    half = TRACEBACK_LIMIT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
