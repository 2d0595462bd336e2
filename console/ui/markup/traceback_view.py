"""A Python traceback as an operator wants it: own frames open, library frames folded, the error last."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePosixPath

from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.ui.markup.icons import icon
from console.ui.markup.text import shorten, visible

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+), in (?P<name>.*)$')
_HEAD = "Traceback (most recent call last):"
_LINKS = {
    "The above exception was the direct cause of the following exception:": "caused by",
    "During handling of the above exception, another exception occurred:": "while handling",
}
_ONLY_MARKERS = re.compile(r"^[\s^~]+$")
FRAMEWORK = ("messaging/", "console/")


@dataclass(frozen=True)
class Frame:
    file: str
    line: int
    name: str
    code: tuple[str, ...]
    is_own: bool
    package: str


@dataclass
class Block:
    """One exception of a chain: its frames and its last lines."""

    frames: list[Frame] = field(default_factory=list)
    error: list[str] = field(default_factory=list)
    link: str = ""
    """How the next exception relates to this one."""


def _place(file: str) -> tuple[str, bool, str]:
    """Return a file's short path, whether it is the team's own code, and the package it belongs to."""
    path = file.replace("\\", "/")
    for marker in ("/site-packages/", "/dist-packages/"):
        if marker in path:
            short = path.rpartition(marker)[2]
            return short, False, short.partition("/")[0].removesuffix(".py")
    if path.startswith("<"):
        return path, False, "Python"
    if found := re.search(r"/lib/python3[.\d]*/(.+)$", path):
        return found[1], False, "Python"
    base = f"{settings.BASE_DIR}/" if hasattr(settings, "BASE_DIR") else ""
    short = path.removeprefix(base) if base else path
    if short.startswith("/"):
        short = str(PurePosixPath(*PurePosixPath(short).parts[-3:]))
    return short, not short.startswith(FRAMEWORK), short.partition("/")[0]


def parse(text: str) -> list[Block]:
    """Read a formatted traceback; anything that does not look like one becomes the error text of a single block."""
    blocks = [Block()]
    rows = text.splitlines()
    at = 0
    while at < len(rows):
        row = rows[at]
        at += 1
        if found := _FRAME.match(row):
            code = []
            while at < len(rows) and rows[at].startswith("    ") and not _FRAME.match(rows[at]):
                if not _ONLY_MARKERS.match(rows[at]):
                    code.append(rows[at][4:])
                at += 1
            short, is_own, package = _place(found["file"])
            blocks[-1].frames.append(Frame(short, int(found["line"][:9]), found["name"], tuple(code), is_own, package))
        elif row in _LINKS:
            blocks[-1].link = _LINKS[row]
            blocks.append(Block())
        elif row != _HEAD and (row.strip() or blocks[-1].error):
            blocks[-1].error.append(row)
    return [block for block in blocks if block.frames or block.error]


def _own(frame: Frame, *, is_last: bool) -> SafeString:
    code = format_html_join(
        "",
        '<li data-n="{}"{}><span>{}</span></li>',
        (
            (frame.line if not at else "", SafeString(' class="is-hot"') if is_last else "", visible(shorten(row, 400)))
            for at, row in enumerate(frame.code)
        ),
    )
    return format_html(
        '<details class="tb-frame is-own"{}><summary>{}<b>{}:{}</b> in <b>{}</b></summary>{}</details>',
        SafeString(" open") if is_last else "",
        icon("right", "turn"),
        visible(frame.file),
        frame.line,
        visible(shorten(frame.name, 200)),
        format_html('<div class="code"><ol>{}</ol></div>', code) if frame.code else "",
    )


def _library(frames: Sequence[Frame]) -> SafeString:
    packages = ", ".join(dict.fromkeys(frame.package for frame in frames))
    rows = format_html_join(
        "",
        '<li data-n="{}"><span><span class="p">{} in {}:</span> {}</span></li>',
        (
            (
                frame.line,
                visible(frame.file),
                visible(shorten(frame.name, 200)),
                visible(shorten(" ".join(frame.code), 300)),
            )
            for frame in frames
        ),
    )
    count = f"{len(frames)} frame{'' if len(frames) == 1 else 's'} in {packages}"
    return format_html(
        '<details class="tb-frame"><summary>{}<span>{}</span></summary><div class="code"><ol>{}</ol></div></details>',
        icon("right", "turn"),
        visible(shorten(count, 160)),
        rows,
    )


def _frames(frames: list[Frame]) -> SafeString:
    own = [index for index, frame in enumerate(frames) if frame.is_own]
    parts: list[SafeString] = []
    for is_own, group in groupby(enumerate(frames), key=lambda pair: pair[1].is_own):
        members = list(group)
        if is_own:
            parts.extend(_own(frame, is_last=index == own[-1]) for index, frame in members)
        else:
            parts.append(_library([frame for _, frame in members]))
    return format_html_join("", "{}", ((part,) for part in parts))


def _error(lines: list[str]) -> SafeString:
    first, *rest = lines or [""]
    name, colon, message = first.partition(":")
    tail = "\n".join([message, *rest])
    return format_html("<b>{}</b>{}{}", visible(name.rpartition(".")[2]), colon, visible(shorten(tail)))


def render(text: str) -> SafeString:
    """Return the last exception's frames, then each cause in one line with its frames folded, then the error."""
    blocks = parse(text)
    if not blocks:
        return SafeString("")
    *causes, last = blocks
    folded = format_html_join(
        "",
        '<details class="tb-frame tb-cause"><summary>{}<span>{} <code>{}</code></span></summary>{}</details>',
        (
            (icon("right", "turn"), cause.link, visible(shorten(" ".join(cause.error), 200)), _frames(cause.frames))
            for cause in reversed(causes)
        ),
    )
    return format_html(
        '<div class="tb" tabindex="0">{}{}<div class="tb-end">{}</div></div>',
        _frames(last.frames),
        folded,
        _error(last.error),
    )
