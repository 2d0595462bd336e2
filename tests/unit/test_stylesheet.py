"""Contrast of the design tokens, computed from the stylesheet as WCAG 2.2 does."""

from __future__ import annotations

import re

import pytest

from tests.processes import ROOT

SHEET = (ROOT / "static/css/signalbox.css").read_text()
TOKENS = dict(re.findall(r"--([a-z0-9-]+):\s*light-dark\((#[0-9a-f]{6}),", SHEET))
DARK_TOKENS = dict(re.findall(r"--([a-z0-9-]+):\s*light-dark\(#[0-9a-f]{6},\s*(#[0-9a-f]{6})\)", SHEET))
SCHEMES = {"light": TOKENS, "dark": DARK_TOKENS}
STATES = ("pending", "running", "retrying", "handled", "dead", "discarded", "paused", "scheduled")
GROUNDS = ("ground", "surface", "raised", "inset", "hover", "selected")
TEXT, GRAPHIC = 4.5, 3.0


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
class TestContrast:
    @pytest.mark.parametrize("ground", GROUNDS)
    @pytest.mark.parametrize("ink", ["ink", "ink-2", "ink-3"])
    def test_of_ink_is_readable_on_every_ground(self, scheme: str, ink: str, ground: str) -> None:
        tokens = SCHEMES[scheme]
        assert contrast(tokens[ink], tokens[ground]) >= TEXT

    @pytest.mark.parametrize("state", STATES)
    def test_of_a_state_is_readable_on_its_tint_and_in_rows(self, scheme: str, state: str) -> None:
        tokens = SCHEMES[scheme]
        for ground in (f"{state}-tint", "ground", "surface", "hover", "selected"):
            assert contrast(tokens[f"{state}-text"], tokens[ground]) >= TEXT, ground

    @pytest.mark.parametrize("state", STATES)
    def test_of_icons_and_bars_is_visible(self, scheme: str, state: str) -> None:
        tokens = SCHEMES[scheme]
        assert contrast(tokens[state], tokens["surface"]) >= GRAPHIC

    def test_of_edges_and_focus_is_visible(self, scheme: str) -> None:
        tokens = SCHEMES[scheme]
        assert contrast(tokens["control"], tokens["surface"]) >= GRAPHIC
        assert contrast(tokens["focus"], tokens["ground"]) >= GRAPHIC

    def test_of_the_main_button_is_readable(self, scheme: str) -> None:
        assert contrast(SCHEMES[scheme]["on-ink"], SCHEMES[scheme]["ink"]) >= TEXT
