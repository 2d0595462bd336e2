"""Where the boxes, ways and labels of a state diagram go: states in columns by their distance from the start.

Nothing leads more than one column ahead, so no way ahead meets a box; what leads back further takes a lane below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

HEIGHT, ROW, GUTTER, BEND = 36, 92, 52, 30
LOOP = 28
CHARACTER, LINE, STEP = 6.5, 14, 16
"""Pixels of an average character and a line at 12 px, and of a step's disc."""
LABEL_LINES, LABEL_LENGTH, LOOP_LENGTH = 3, 15, 22
STEPS_SHOWN = 3

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A state. ``mark`` is "now" for the current one, "been" for one on the path, or ""."""

    name: str
    mark: str = ""
    is_final: bool = False


@dataclass(kw_only=True)
class Way:
    """All that leads from one state to another; ``steps`` are the numbers of the transitions that took it."""

    before: str
    after: str
    labels: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    def shared(self, other: Box) -> float:
        """Return the area that both cover, in square pixels."""
        across = min(self.right, other.right) - max(self.x, other.x)
        down = min(self.bottom, other.bottom) - max(self.y, other.y)
        return max(0.0, across) * max(0.0, down)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way as drawn. ``points`` lie on its path; ``label`` is where its discs and its lines of words go."""

    way: Way
    path: str
    points: tuple[Point, ...]
    lines: tuple[str, ...]
    label: Box | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``frame`` holds everything; the start, named "", has a box as the states have."""

    frame: Box
    boxes: dict[str, Box]
    routes: tuple[Route, ...]


def lay_out(nodes: Sequence[Node], ways: Sequence[Way]) -> Layout:
    """Place everything. Words stand only beside ways that were taken, or lead out of the current state."""
    now = next((node.name for node in nodes if node.mark == "now"), None)
    lines = [words_of(way) if way.steps or way.before == now else () for way in ways]
    boxes = _boxes([node.name for node in nodes], ways, lines)
    routes = [
        Route(way=way, path=path, points=points, lines=words)
        for (way, words), (path, points) in zip(zip(ways, lines, strict=True), _paths(ways, boxes), strict=True)
    ]
    routes = _labelled(routes, list(boxes.values()))
    return Layout(frame=_frame(boxes.values(), routes), boxes=boxes, routes=tuple(routes))


def words_of(way: Way) -> tuple[str, ...]:
    """Return what is written beside a way: few short lines, broken where its names have seams."""
    length = LOOP_LENGTH if way.before == way.after else LABEL_LENGTH
    labels = list(dict.fromkeys(way.labels))
    wrapped = [_wrapped(label, length) for label in labels]
    if sum(map(len, wrapped)) <= LABEL_LINES:
        return tuple(line for each in wrapped for line in each)
    if len(labels) == 1:
        return (*wrapped[0][: LABEL_LINES - 1], f"{wrapped[0][LABEL_LINES - 1][: length - 1]}…")
    first = wrapped[0][: LABEL_LINES - 1]
    return (*first, f"and {len(labels) - 1} more")


def _wrapped(label: str, length: int) -> list[str]:
    """Break at spaces; inside a name, where its capitals and underscores are, only if it is too long for a line."""
    lines = [""]
    for word in label.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) <= length:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for piece in re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_.])", word):
            if lines[-1] and len(lines[-1]) + len(piece) > length:
                lines.append("")
            lines[-1] += piece
    return [line if len(line) <= length else f"{line[: length - 1]}…" for line in lines if line]


def columns_of(names: Sequence[str], ways: Iterable[Way]) -> list[list[str]]:
    """Return the states by their distance from the start; one that nothing leads to stands beside the first."""
    ways = list(ways)
    distance, ring, far = {"": 0}, [""], 0
    while ring:
        far += 1
        ring = list(dict.fromkeys(way.after for way in ways if way.before in ring and way.after not in distance))
        distance |= dict.fromkeys(ring, far)
    columns: dict[int, list[str]] = {}
    for name in dict.fromkeys(["", *names]):
        columns.setdefault(distance.get(name, 1), []).append(name)
    return [columns[number] for number in sorted(columns)]


def _boxes(names: Sequence[str], ways: Sequence[Way], lines: Sequence[tuple[str, ...]]) -> dict[str, Box]:
    columns = columns_of(names, ways)
    column = {name: number for number, column in enumerate(columns) for name in column}
    width = min(168.0, max(96.0, *(24 + 7 * len(name) for name in names)))
    wide = [float(GUTTER)] * len(columns)
    pairs = list(zip(ways, lines, strict=True))
    for way, words in pairs:
        before, after = column[way.before], column[way.after]
        if abs(before - after) == 1 and words:
            needed = 24 + max(CHARACTER * max(map(len, words)), steps_width(way))
            wide[max(before, after)] = max(wide[max(before, after)], needed)
    has_words_within = any(words and column[way.before] == column[way.after] for way, words in pairs)
    row = ROW + (24 if has_words_within else 0)
    places: dict[str, Box] = {}
    x = 0.0
    for number, each in enumerate(columns):
        x += wide[number] if number else 0
        across = width if number else 12
        places |= {name: Box(x, n * row, across, HEIGHT) for n, name in enumerate(each)}
        x += across
    return places


def _paths(ways: Sequence[Way], boxes: dict[str, Box]) -> Iterator[tuple[str, tuple[Point, ...]]]:
    """Yield each way's path and points on it."""
    floor = max(box.bottom for box in boxes.values())
    across = sorted({box.x for box in boxes.values()})
    lanes = 0
    for way in ways:
        a, b = boxes[way.before], boxes[way.after]
        apart = across.index(a.x) - across.index(b.x)
        if way.before == way.after:
            yield _loop(a)
        elif apart < 0:
            yield _curve((a.right, a.middle), (b.x - 1, b.middle), BEND)
        elif apart == 0:
            yield _sideways(a, b, others=[box for box in boxes.values() if box.x == a.x])
        elif apart == 1:
            yield _curve((a.x, a.middle + 8), (b.right + 1, b.middle + 8), -BEND)
        else:
            lanes += 1
            yield _lane(a, b, floor + 16 * lanes, 8 + 4 * (lanes % 4))


def _loop(box: Box) -> tuple[str, tuple[Point, ...]]:
    left, right, top = box.right - 46, box.right - 14, box.y
    peak = (left + right) / 2, top - LOOP * 0.75
    return f"M{left} {top}C{left} {top - LOOP} {right} {top - LOOP} {right} {top - 1}", (peak,)


def _sideways(a: Box, b: Box, *, others: Sequence[Box]) -> tuple[str, tuple[Point, ...]]:
    """Lead within a column: straight to the neighbour, around what stands between otherwise."""
    if any(min(a.y, b.y) < box.y < max(a.y, b.y) for box in others):
        x, out = a.right, a.right + BEND
        start, end = (x, a.middle + 8), (x + 1, b.middle - 8)
        return _bezier(start, (out, start[1]), (out, end[1]), end)
    x = a.x + a.width * (0.4 if b.y > a.y else 0.2)
    start, end = ((x, a.bottom), (x, b.y - 1)) if b.y > a.y else ((x, a.y), (x, b.bottom + 1))
    return _bezier(start, start, end, end)


def _curve(start: Point, end: Point, bend: float) -> tuple[str, tuple[Point, ...]]:
    return _bezier(start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end)


def _bezier(start: Point, one: Point, two: Point, end: Point) -> tuple[str, tuple[Point, ...]]:
    def at(t: float) -> Point:
        s = 1 - t
        shares = (s**3, 3 * s * s * t, 3 * s * t * t, t**3)
        points = (start, one, two, end)
        x, y = (sum(share * point[axis] for share, point in zip(shares, points, strict=True)) for axis in (0, 1))
        return round(x, 1), round(y, 1)

    path = f"M{_pair(start)}C{_pair(one)} {_pair(two)} {_pair(end)}"
    return path, tuple(at(t) for t in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8))


def _lane(a: Box, b: Box, y: float, aside: float) -> tuple[str, tuple[Point, ...]]:
    """Lead back below all boxes, down and up in the gutters."""
    left, right = b.right + aside, a.x - aside
    corners = [(a.x, a.middle + 8), (right, a.middle + 8), (right, y), (left, y), (left, b.middle + 8)]
    path = "L".join(map(_pair, [*corners, (b.right + 1, b.middle + 8)]))
    return f"M{path}", tuple((left + (right - left) * t, y) for t in (0.5, 0.3, 0.7))


def _pair(point: Point) -> str:
    return f"{point[0]:g} {point[1]:g}"


def _labelled(routes: Sequence[Route], boxes: Sequence[Box]) -> list[Route]:
    """Give every label the first place on its way where it covers least, of states above all."""
    labels: dict[int, Box] = {}

    def covered(box: Box) -> tuple[float, float]:
        return round(sum(map(box.shared, boxes)), 1), round(sum(map(box.shared, labels.values())), 1)

    def turn(number: int) -> tuple[bool, bool]:  # loops first, as their words have one good place
        return routes[number].way.before != routes[number].way.after, not routes[number].way.steps

    for number in sorted(range(len(routes)), key=turn):
        if routes[number].lines or routes[number].way.steps:
            labels[number] = min(_candidates(routes[number]), key=covered)
    return [
        Route(way=r.way, path=r.path, points=r.points, lines=r.lines, label=labels.get(n)) for n, r in enumerate(routes)
    ]


def _candidates(route: Route) -> Iterator[Box]:
    """Yield places for a label: its discs on the way and the words by them, then beside the way."""
    discs = bool(route.way.steps)
    width = max([CHARACTER * len(line) for line in route.lines] + [steps_width(route.way)]) + 8
    height = (STEP + 2 if discs else 0) + LINE * len(route.lines) + 2
    if route.way.before == route.way.after:
        x, y = route.points[0]
        yield Box(x - width / 2, y - height + (STEP / 2 if discs else -4), width, height)
        yield Box(x + 20, y - height / 2, width, height)
        return
    points = route.points
    if not discs and len({y for _, y in points}) == 1:  # a level way: the words stand on it
        yield from (Box(x - width / 2, y - height - 2, width, height) for x, y in points)
    lift = STEP / 2 if discs else height / 2
    for shift in (0, width / 2 + 8, -width / 2 - 8):
        for x, y in points if discs else sorted(points, key=lambda point: abs(point[1] - points[-1][1])):
            yield Box(x - width / 2 + shift, y - lift, width, height)


def steps_width(way: Way) -> float:
    """Return how wide the discs of a way are, with the word that tells of those not shown."""
    discs = (STEP + 2) * len(way.steps[:STEPS_SHOWN])
    return discs + (28 if len(way.steps) > STEPS_SHOWN else 0)


def _frame(boxes: Iterable[Box], routes: Iterable[Route]) -> Box:
    """Return the smallest box around everything, with a margin for rings and tips."""
    around = [*boxes, *(route.label for route in routes if route.label)]
    xs, ys = zip(*(point for route in routes for point in _ends(route)), strict=True) if routes else ((), ())
    left, top = min([box.x for box in around] + list(xs)) - 8, min([box.y for box in around] + list(ys)) - 8
    right, bottom = max([box.right for box in around] + list(xs)), max([box.bottom for box in around] + list(ys))
    return Box(float(round(left)), float(round(top)), float(round(right - left + 8)), float(round(bottom - top + 8)))


def _ends(route: Route) -> Iterator[Point]:
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", route.path)]
    yield from zip(numbers[::2], numbers[1::2], strict=True)
