import json
import re
from html import unescape
from xml.etree import ElementTree

import pytest

from utils.reporting.results_page.charts import Chart, Series, number_text, thinned, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (2.31, 4.9, [2, 3, 4, 5]),
        (0, 1e-4, [0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
        (12345, 12399, [12340, 12360, 12380, 12400]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-7])
def test_a_single_value_has_ticks_around_it(value: float) -> None:
    found = ticks(value, value)
    assert found[0] < value < found[-1] and 3 <= len(found) <= 12


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (5e-4, "5e-4"), (0.25, "0.25"), (9500, "9500"), (42076, "42.08k"), (2.5e6, "2.5M"), (-1.5, "-1.5")],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


def test_many_points_are_averaged() -> None:
    points = [(float(step), float(step % 2)) for step in range(1, 10_002)]
    few = thinned(points, 100)
    assert len(few) == 100 and few[-1] == points[-1]
    assert all(abs(y - 0.5) < 0.01 for _, y in few[:-1])
    assert [x for x, _ in few] == sorted(x for x, _ in few)
    assert thinned(points[:100], 100) == points[:100]


def test_the_drawing_says_what_it_shows() -> None:
    """It is well-formed, has a text for those who cannot see it, and its points lie at their values."""
    chart = Chart("Loss", "per token", [Series("a <b>", [(10, 4.0), (20, 2.0), (40, 3.0)]), Series("none", [])])
    svg = ElementTree.fromstring(chart.svg)
    assert "a <b>: 4 at step 10, 3 at step 40, from 2 to 4 between." in svg.attrib["aria-label"]
    (line,) = [one for one in svg if one.attrib.get("class", "").startswith("line")]
    data = json.loads(unescape(line.attrib["data-line"]))
    assert [point[2:] for point in data["points"]] == [["10", "4"], ["20", "2"], ["40", "3"]]
    places = [tuple(map(float, place.split())) for place in re.split("[ML]", line.attrib["d"])[1:]]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert y2 > y3 > y1  # downwards
    assert (x3 - x2) == pytest.approx(2 * (x2 - x1), abs=0.2)


def test_no_points_no_drawing() -> None:
    assert Chart("Loss", "", [Series("training", [])]).svg == ""
