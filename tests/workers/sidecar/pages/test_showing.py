"""Figures, times, charts and texts from outside, as pages write them."""

import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.errors import InvalidInputError
from penstock.workers.sidecar.pages import charts, formatting, forms, harmless, history
from penstock.workers.sidecar.pages.attempts import SHOWN, attempts_of, last_traceback

NOW = datetime(2026, 11, 21, 3, 12, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (12345, "12,345"), (3.5, "3.5"), (0.25, "0.25"), (1234.56, "1,234.6"), (None, "\u2013"), (20.0, "20")],
)
def test_numbers_are_grouped(value: float | None, told: str) -> None:
    assert formatting.number(value) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (0.02, "20 ms"), (3.25, "3.2 s"), (41, "41 s"), (125, "2 min 5 s"), (3600, "1 h"), (90000, "1 d 1 h"),
     (-5, "\u22125 s"), (None, "\u2013")],
)  # fmt: skip
def test_durations_have_two_units(seconds: float | None, told: str) -> None:
    assert formatting.duration(seconds) == told


@pytest.mark.parametrize(("value", "told"), [(999, "999 bytes"), (18_204, "18.2 kB"), (5_000_000, "5.0 MB")])
def test_sizes(value: int, told: str) -> None:
    assert formatting.size(value) == told


def test_a_time_is_relative_and_exact() -> None:
    shown = formatting.time_element(NOW - timedelta(minutes=5, seconds=50), NOW)
    assert shown == '<time datetime="2026-11-21T03:06:17Z" title="2026-11-21 03:06:17 UTC">5 min ago</time>'
    assert ">in 2 h<" in formatting.time_element(NOW + timedelta(hours=2), NOW)
    assert ">now<" in formatting.time_element(NOW - timedelta(seconds=1), NOW)


@given(st.text())
def test_no_text_keeps_a_character_that_can_not_be_seen(text: str) -> None:
    shown = harmless.visible(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    str(harmless.isolated(text)).encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_a_payload_to_edit_is_the_same_value(value: Any) -> None:
    text = harmless.pretty_json(value)
    assert json.loads(text) == value
    assert harmless.visible(text) == text


@given(_JSON)
def test_a_payload_to_read_says_the_same(value: Any) -> None:
    text = harmless.pretty_json(value)
    assert harmless.coloured_json(text).striptags() == " ".join(text.split()) or "&" in text or "<" in text


def test_a_megabyte_is_cut_and_says_so() -> None:
    excerpt = harmless.Excerpt({"a": "x" * 1_000_000, "rows": [{"n": "y" * 100}] * 10_000, "k" * 5000: 1})
    assert excerpt.is_cut
    shown = harmless.coloured_json(harmless.pretty_json(excerpt.value))
    assert len(shown) < 120_000
    assert "999,400 characters more" in shown
    assert re.search(r"\u2026 9,\d\d\d more", shown)
    assert not harmless.Excerpt({"a": ["short", 1]}).is_cut
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    assert harmless.Excerpt(deep).is_cut
    assert "400 characters more" in harmless.isolated("y" * 1000)


@given(_JSON)
def test_an_excerpt_of_what_is_short_is_the_whole(value: Any) -> None:
    assert harmless.Excerpt(value).value == value


def test_an_axis_begins_at_zero_and_ends_round() -> None:
    assert [charts.top_of([value]) for value in (0.0, 0.4, 3.0, 41.0, 50.0, 620.0)] == [
        1.0,
        1.0,
        4.0,
        50.0,
        50.0,
        1000.0,
    ]
    drawn = charts.line_chart(charts.Series("Jobs", [0.0, 5.0, None, 10.0], "6 h"))
    assert "Jobs: over the last 6 h from 0 to 10, last 10" in drawn
    # The gap parts the line in two.
    assert drawn.count('class="c-line"') == 2
    assert "M40 82L" in drawn
    assert "nothing is known" in charts.line_chart(charts.Series("Jobs", [None, None], "6 h"))


@given(st.lists(st.none() | st.floats(0, 1e12), max_size=80))
def test_no_value_leaves_the_frame(values: list[float | None]) -> None:
    for drawn in (
        charts.line_chart(charts.Series("t", values, "6 h")),
        charts.bar_chart(charts.Series("t", values, "6 h")),
    ):
        assert all(float(y) <= 104 for y in re.findall(r'(?:cy|y)="([\d.]+)"', drawn))
        assert "-" not in "".join(re.findall(r' d="([^"]*)"', drawn))


def item(minutes: float, done: int = 0, died: int = 0, queue: str = "a") -> Any:
    return SimpleNamespace(
        at=NOW - timedelta(minutes=minutes), queue=queue, seconds=60.0, done=done, dead=died, oldest_seconds=None
    )


def test_minutes_become_figures_of_five() -> None:
    items = [item(1, 60), item(2, 120), item(1, 30, queue="b"), item(2, 0, 3, queue="b"), item(359, 5), item(400, 9)]
    figures = history.figures_of(items, NOW)
    assert (len(figures.done_per_minute), figures.done_per_minute[-1], figures.done_per_minute[0]) == (72, 105.0, 5.0)
    assert (figures.dead[-1], figures.dead[1]) == (3.0, None)
    assert history.rates_of(items, NOW) == {"a": 90.0, "b": 15.0}


def test_a_long_history_is_shown_at_both_ends() -> None:
    entries = [{"at": 1_700_000_000_000 + at, "outcome": "retry", "n": at} for at in range(100)]
    shown = attempts_of(SimpleNamespace(history=entries))
    assert (len(shown), shown[0].entry["n"], shown[-1].entry["n"]) == (SHOWN, 0, 99)
    assert [one.left_out for one in shown if one.left_out] == [60]
    assert attempts_of(SimpleNamespace(history=["nonsense", {"at": "never"}]))[0].at is None


def test_our_frames_are_marked() -> None:
    frames = last_traceback([{"outcome": "retry"}, {"traceback": ["a", "b"], "own": [1]}])
    assert [(frame.text, frame.is_ours) for frame in frames] == [("a", False), ("b", True)]
    assert [frame.is_ours for frame in last_traceback([{"traceback": ["a", "b"], "own": [True, False]}])] == [
        True,
        False,
    ]


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1 d", 86400), ("90", 90)])
def test_durations_are_read(text: str, seconds: int) -> None:
    assert forms.lasting(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "1y", "-5m", "1e9h", "٣h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        forms.lasting(text)
