"""What the tags make of what they are given, hostile or not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.template import Context, Template
from django.test import RequestFactory

from console.ui.markup import json_view, numbers, traceback_view
from messaging.queries.messages import DeliveryDot
from messaging.queries.pages import CappedCount

NOW = datetime(2026, 11, 18, 14, 2, 7, 118_000, tzinfo=UTC)
BOOM = "<script>alert(1)</script>"


def draw(source: str, **values: object) -> str:
    return Template("{% load signalbox %}" + source).render(Context(values))


class TestState:
    @pytest.mark.parametrize(
        ("status", "word"), [("dead", "Dead-lettered"), ("handled", "Handled"), ("paused", "Paused")]
    )
    def test_shows_icon_word_and_colour(self, status: str, word: str) -> None:
        html = draw("{% state status %}", status=status)
        assert f"#i-{status}" in html
        assert word in html
        assert f"s-{status}" in html

    def test_escapes_an_unknown_status(self) -> None:
        assert "<script>" not in draw("{% state status %}{% badge status %}", status=BOOM)

    def test_names_each_delivery_of_the_dots(self) -> None:
        html = draw("{% dots rows %}", rows=[DeliveryDot(consumer="shop.<b>", status="dead")])
        assert "shop.&lt;b&gt; dead-lettered" in html


class TestIds:
    def test_shortens_in_the_middle_and_keeps_the_whole_for_copying(self) -> None:
        html = draw("{% short_id id %}", id="01a1eef6-efee-7af2-9cee-c5cf0b15fe17")
        assert "01a1eef6…15fe17" in html
        assert 'data-copy="01a1eef6-efee-7af2-9cee-c5cf0b15fe17"' in html

    def test_escapes_quotes_in_the_copy_button(self) -> None:
        assert '"onclick' not in draw("{% short_id id %}", id='"onclick="x')

    def test_shows_a_dash_for_nothing(self) -> None:
        assert "–" in draw("{% short_id id %}", id=None)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, "–"), (0, "0"), (1204, "1,204"), (2**70, "1,180,591,620,717,411,303,424"), (12.0, "12")],
    )
    def test_separates_thousands_exactly(self, value: float | None, text: str) -> None:
        assert draw("{% number value %}", value=value) == text

    def test_says_when_a_count_stopped_early(self) -> None:
        assert draw("{% capped n %}", n=CappedCount(value=10_000, is_capped=True)) == "≥ 10,000"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "–"),
            (0.0, "0 ms"),
            (0.4, "0.40 ms"),
            (8.14, "8.1 ms"),
            (412, "412 ms"),
            (2600, "2.6 s"),
            (98_000, "1 min"),
        ],
    )
    def test_picks_the_unit_of_a_duration(self, value: float | None, text: str) -> None:
        assert draw("{% ms value %}", value=value) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0.4 s"), (59, "59 s"), (2280, "38 min"), (9780, "2 h 43 min"), (104_400, "1 d 5 h")],
    )
    def test_writes_at_most_two_units(self, seconds: float, text: str) -> None:
        assert numbers.span(seconds) == text


class TestTimes:
    @pytest.mark.parametrize(("past", "text"), [(0, "just now"), (4, "4 s ago"), (-596, "in 9 min"), (7200, "2 h ago")])
    def test_shows_relative_words_with_the_absolute_time_as_title(self, past: int, text: str) -> None:
        html = numbers.time_tag(NOW - timedelta(seconds=past), "ago", NOW)
        assert f">{text}</time>" in html
        assert ".118 UTC" in html

    def test_adds_the_day_when_it_is_not_today(self) -> None:
        assert "2026-11-17 14:02:07" in numbers.time_tag(NOW - timedelta(days=1), "clock", NOW)


class TestJsonBody:
    def test_numbers_lines_and_tones_keys(self) -> None:
        html = draw("{% json_body body %}", body=b'{"a": 1}')
        assert 'data-n="3"' in html
        assert '<span class="key-name">&quot;a&quot;</span>' in html

    def test_escapes_markup_in_keys_and_values(self) -> None:
        html = draw("{% json_body body %}", body=json.dumps({BOOM: [BOOM]}).encode())
        assert "<script>" not in html
        assert "&lt;script&gt;" in html

    @pytest.mark.parametrize("digits", ["90071992547409931", "9" * 3000, "1e400", "0.10", "-0", "149.80"])
    def test_keeps_every_digit(self, digits: str) -> None:
        assert f">{digits}<" in draw("{% json_body body %}", body=f'{{"n": {digits}}}'.encode())

    def test_shows_both_of_two_equal_keys(self) -> None:
        html = draw("{% json_body body %}", body=b'{"a": 1, "a": 2}')
        assert ">1<" in html
        assert ">2<" in html

    @pytest.mark.parametrize("escape", ["\\ud800", "\\u0000", "\\u202e"])
    def test_spells_out_what_cannot_be_seen_or_encoded(self, escape: str) -> None:
        html = draw("{% json_body body %}", body=f'{{"a": "x{escape}y"}}'.encode())
        assert f"x{escape}y" in html
        html.encode()

    @pytest.mark.parametrize("depth", [100, 990, 100_000])
    def test_falls_back_to_text_when_nested_too_deep(self, depth: int) -> None:
        html = draw("{% json_body body %}", body=b"[" * depth + b"]" * depth)
        assert "[[[[" in html

    @pytest.mark.parametrize("body", [b"\xff\xfe<script>", b"", b"not json", b"NaN", b'{"a": ', b"\x00\x01"])
    def test_shows_any_bytes_safely(self, body: bytes) -> None:
        html = draw("{% json_body body %}", body=body)
        assert "<script>" not in html
        html.encode()

    def test_shows_a_mask_instead_of_the_value(self) -> None:
        html = draw("{% json_body body %}", body=b'{"email": {"__masked__": "e-mail, 21 characters"}}')
        assert "e-mail, 21 characters</span>" in html
        assert "__masked__" not in html

    def test_marks_the_lines_to_blame_by_path_and_by_number(self) -> None:
        body = b'{"items": [{"price": "18,80"}], "n": 1}'
        by_path = json_view.render(body, hot=["items[0].price"])
        assert 'data-n="4" class="is-hot"' in by_path
        assert 'data-n="7" class="is-hot"' in json_view.render(body, hot=[7])

    def test_cuts_a_body_of_very_many_lines_and_says_so(self) -> None:
        html = json_view.render(json.dumps(list(range(5000))).encode())
        assert "cut after 2,000 lines" in html
        assert 'data-n="2001"' not in html


class TestTraceback:
    TEXT = (
        "Traceback (most recent call last):\n"
        '  File "/srv/venv/lib/python3.11/site-packages/django/db/models/base.py", line 12, in save\n'
        "    self.save_base()\n"
        '  File "/srv/shop/billing/money.py", line 88, in minor_units\n'
        "    raise UnknownCurrency(currency)\n"
        "    ^^^^^^^^^^^^^^^\n"
        "billing.errors.UnknownCurrency: no minor unit for '<b>'\n"
    )

    def test_folds_library_frames_and_opens_the_own_one(self) -> None:
        html = draw("{% traceback text %}", text=self.TEXT)
        assert "1 frame in django" in html
        assert '<details class="tb-frame is-own" open>' in html
        assert "shop/billing/money.py:88" in html
        assert "^^^" not in html

    def test_ends_with_the_error_escaped(self) -> None:
        html = draw("{% traceback text %}", text=self.TEXT)
        assert "<b>UnknownCurrency</b>: no minor unit for &#x27;&lt;b&gt;&#x27;" in html

    def test_names_the_cause(self) -> None:
        link = "\nThe above exception was the direct cause of the following exception:\n\n"
        blocks = traceback_view.parse(self.TEXT + link + self.TEXT)
        assert [block.link for block in blocks] == ["caused by", ""]

    @pytest.mark.parametrize("text", ["", BOOM, "one\ntwo", '  File "x", line 99999999999999999999, in y', "\ud800"])
    def test_shows_any_text_safely(self, text: str) -> None:
        html = draw("{% traceback text %}", text=text)
        assert "<script>" not in html
        html.encode()


class TestCharts:
    @pytest.mark.parametrize("values", [[], [0], [1], [None, 2.5, None], [0, 0, 0], [10**20]])
    def test_draws_any_series_without_inline_style(self, values: list[float | None]) -> None:
        html = draw("{% sparkline values %}{% bars values %}{% bar 2 %}{% stackbar parts %}", values=values, parts=[])
        assert "style=" not in html
        assert html.count("<svg") == 4


class TestKeepQuery:
    def test_changes_one_parameter_and_drops_cursors(self) -> None:
        request = RequestFactory().get("/messages?status=dead&after=x&type=a")
        html = draw("{% keep_query type='b c' status=None %}", request=request)
        assert html == "?type=b+c"


class TestCurrent:
    def test_marks_a_section_for_all_pages_below_it(self) -> None:
        request = SimpleNamespace(path="/dead-letters/7c1e90b2")
        assert "aria-current" in draw("{% current 'dead-letters' %}", request=request)
        assert draw("{% current 'overview' %}", request=request) == ""
