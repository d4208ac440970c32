"""Charts: well-formed SVG without inline styles, which says what it shows."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from fastapi_events.console.charts import Series, Stretch, axis, bars, nice, sparkline


def test_a_sparkline_has_a_point_for_each_value_and_a_name() -> None:
    svg = ElementTree.fromstring(sparkline([0, 5, 10], label="orders: <15>"))

    [line] = svg
    assert line.attrib["points"] == "0.0,22.0 60.0,12.0 120.0,2.0"
    assert svg.attrib["aria-label"] == "orders: <15>"
    assert "style" not in svg.attrib


def test_bars_stand_beside_one_another_and_say_their_numbers() -> None:
    chart = bars([Series("handled", [0, 4]), Series("failed", [8, 0])], label="the last minutes")

    rects = [each for each in ElementTree.fromstring(chart.svg) if each.tag == "rect"]
    assert [(each.attrib["class"], each[0].text) for each in rects] == [
        ("series-handled", "this minute: 4 handled"),
        ("series-failed", "1 min ago: 8 failed"),
    ]
    assert chart.top == 10
    assert (chart.minutes, chart.series[1].total) == (2, 8)


def test_bars_of_nothing_are_empty() -> None:
    chart = bars([Series("handled", [])], label="nothing")

    assert [each.tag for each in ElementTree.fromstring(chart.svg)] == ["line"] * 3


def test_an_axis_has_a_track_for_each_row() -> None:
    found = axis(
        [
            Stretch("on its way", "dispatched", 100.0, 100.0, "step"),
            Stretch("cook", "attempt 1 <failed>", 101.0, 102.0, "bad"),
            Stretch("cook", "attempt 2", 109.0, 110.0, "good"),
        ]
    )

    assert found is not None
    assert [row for row, _ in found.tracks] == ["on its way", "cook"]
    assert (found.begin, found.length) == (100.0, "10 s")
    rects = [each for each in ElementTree.fromstring(found.tracks[1][1]) if each.tag == "rect"]
    assert [(each.attrib["x"], each.attrib["width"]) for each in rects] == [
        ("72.0", "72.0"),
        ("648.0", "72.0"),
    ]
    assert rects[0][0].text == "attempt 1 <failed>"
    assert axis([]) is None


@pytest.mark.parametrize(("value", "top"), [(0, 4), (4, 4), (11, 20), (23, 25), (99, 100), (101, 200)])
def test_scales_end_at_numbers_that_are_easily_read(value: float, top: float) -> None:
    assert nice(value) == top
