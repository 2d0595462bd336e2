"""Where a saga's diagram puts things: nothing covers a state, nothing is cut off."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest

from console.ui.markup.diagram import state_diagram
from console.ui.markup.diagram_layout import Box, Layout, Node, Way, lay_out, words_of
from messaging.sagas import all_sagas
from messaging.sagas.definition import COMPENSATING, Definition

Drawn = tuple[list[Node], list[Way]]


def drawn(definition: Definition, now: str) -> Drawn:
    """Return a saga's states and ways as they are in some state, every way into it taken, some often."""
    ways: dict[tuple[str, str], Way] = {}
    for number, edge in enumerate(definition.edges(), 1):
        way = ways.setdefault((edge.before, edge.after), Way(before=edge.before, after=edge.after))
        way.labels.append(edge.label)
        way.steps += range(number, 2 * number) if edge.after == now else ()
    names = [*definition.states, *([COMPENSATING] if any(COMPENSATING in key for key in ways) else [])]
    nodes = [
        Node(name=name, mark="now" if name == now else "", is_final=definition.is_final(name)) for name in names
    ]  # fmt: skip
    return nodes, list(ways.values())


EVERY = [
    pytest.param(saga.definition, state, id=f"{saga.definition.name}-{state}")
    for saga in all_sagas()
    for state in (*saga.definition.states, COMPENSATING)
]


def contains(frame: Box, x: float, y: float) -> bool:
    return frame.x <= x <= frame.right and frame.y <= y <= frame.bottom


def assert_readable(made: Layout) -> None:
    for (one, first), (other, second) in combinations(made.boxes.items(), 2):
        assert not first.shared(second), f"{one} covers {other}"
    for route in made.routes:
        for name in made.boxes.keys() - {route.way.before, route.way.after}:
            box = made.boxes[name]
            assert not any(contains(box, x, y) for x, y in route.points), f"{route.way} runs through {name}"
    labels = [route.label for route in made.routes if route.label]
    for label in labels:
        assert not any(label.shared(box) for box in made.boxes.values()), label
    for box in [*made.boxes.values(), *labels]:
        assert contains(made.frame, box.x, box.y), box
        assert contains(made.frame, box.right, box.bottom), box


@pytest.mark.parametrize(("definition", "state"), EVERY)
class TestSagasOfTheExamples:
    def test_cover_no_state_and_stay_within_the_frame(self, definition: Definition, state: str) -> None:
        assert_readable(lay_out(*drawn(definition, state)))

    def test_are_drawn_within_the_view_box(self, definition: Definition, state: str) -> None:
        svg = ET.fromstring(state_diagram(*drawn(definition, state), label="States"))
        frame = Box(*map(float, svg.attrib["viewBox"].split()))
        for part in svg.iter():
            at = part.attrib
            for x, y in (("x", "y"), ("cx", "cy")):
                assert x not in at or contains(frame, float(at[x]), float(at[y])), at
            if part.tag == "path" and "marker-end" in at:
                numbers = [float(each) for each in re.findall(r"-?[\d.]+", at["d"])]
                assert all(contains(frame, x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)), at


def test_ways_back_over_columns_run_below_all_states() -> None:
    names = ("asked", "sent", "read", "answered", "closed")
    ahead = [Way(before=one, after=other, steps=[1]) for one, other in zip(("", *names), names, strict=False)]
    back = [Way(before="closed", after="asked", labels=["AskedAgain"]), Way(before="answered", after="asked")]
    made = lay_out([Node(name=name, mark="now" if name == "closed" else "") for name in names], ahead + back)
    assert_readable(made)
    lowest = max(box.bottom for box in made.boxes.values())
    assert all(y > lowest for route in made.routes[-2:] for _, y in route.points)


def test_long_names_break_at_their_seams() -> None:
    def words(*labels: str) -> tuple[str, ...]:
        return words_of(Way(before="a", after="b", labels=list(labels)))

    assert words("AppointmentRescheduleRequested") == ("Appointment", "Reschedule", "Requested")
    assert words("all of SlotBooked, RoomBooked") == ("all of", "SlotBooked,", "RoomBooked")
    assert words("One", "Two", "Three", "Four") == ("One", "and 3 more")
    assert all(len(line) <= 15 for line in words("x" * 400))
