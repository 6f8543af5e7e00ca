"""Line charts and scatter pictures: every number is where it belongs in the drawing."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.report.dots import SIDE, dot_picture
from xfeat.report.lines import HEIGHT, WIDTH, Axis, Line, line_chart


def paths(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    """Points of the paths of a class."""
    found = [one for one in ElementTree.fromstring(svg) if kind in str(one.get("class")).split()]
    pair = re.compile(r"([-\d.]+) ([-\d.]+)")
    return [[(float(x), float(y)) for x, y in pair.findall(str(one.get("d")))] for one in found]


def test_a_line_goes_through_its_points() -> None:
    svg = line_chart([Line(2, [(1, 5.0), (2, 3.0), (5, 4.0)]), Line(3, [(3, 4.0)])], "epoch")
    (line,) = paths(svg, "c2")
    (point,) = paths(svg, "c3")
    # Straight on both scales, downwards in the drawing, within it.
    assert line[1][0] - line[0][0] == pytest.approx((line[2][0] - line[0][0]) / 4, abs=0.1)
    assert (line[2][1] - line[0][1]) * 2 == pytest.approx(line[1][1] - line[0][1], abs=0.1)
    assert line[0][1] < line[2][1] < line[1][1]
    assert point[0] == pytest.approx(((line[0][0] + line[2][0]) / 2, line[2][1]), abs=0.1)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
    texts = [one.text for one in ElementTree.fromstring(svg) if one.tag == "text"]
    assert texts == ["3", "3.5", "4", "4.5", "5", "1", "2", "3", "4", "5", "epoch"]


@given(low=st.floats(-1e6, 1e6), reach=st.floats(1e-3, 1e6), whole=st.booleans())
def test_ticks_are_few_round_and_on_the_axis(low: float, reach: float, whole: bool) -> None:
    axis = Axis(low, low + reach, 0, 100)
    ticks = axis.ticks(whole=whole)
    assert len(ticks) <= 7
    assert len(ticks) >= (0 if whole and reach < 6 else 2)
    assert all(-0.01 <= axis.place(tick) <= 100.01 for tick in ticks)
    steps = {round((b - a) / reach, 6) for a, b in pairwise(ticks)}
    assert len(steps) <= 1
    assert not whole or all(tick == round(tick) for tick in ticks)


def test_an_axis_of_one_number_puts_it_in_the_middle() -> None:
    assert Axis(3, 3, 10, 20).ticks() == [3]
    assert Axis(3, 3, 10, 20).place(3) == 15


def test_dots_lie_where_the_points_are() -> None:
    points = np.array([[0.0, 0.0], [4.0, 2.0], [2.0, 1.0]])
    svg = dot_picture(points, [0, 1, -1])
    (low,), (high,), (middle,) = (paths(svg, name)[0] for name in ("c0", "c1", "grey"))
    assert middle == (SIDE / 2, SIDE / 2)
    # One scale for both, upwards, the wider one from edge to edge.
    assert high[0] - low[0] == 2 * (low[1] - high[1]) == pytest.approx(0.94 * SIDE, abs=2)
    assert ElementTree.fromstring(svg)[0].get("class") == "grey"  # below the others


@given(seed=st.integers(0, 99), rows=st.integers(1, 60))
def test_every_point_is_a_dot_of_its_colour(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    colours = rng.integers(-1, 4, rows).tolist()
    svg = dot_picture(rng.normal(size=(rows, 2)), colours)
    for colour in range(-1, 4):
        dots = [dot for path in paths(svg, "grey" if colour < 0 else f"c{colour}") for dot in path]
        assert len(dots) == colours.count(colour)
        assert all(0 < x < SIDE and 0 < y < SIDE for x, y in dots)


def test_points_in_one_place_are_drawn_in_the_middle() -> None:
    assert paths(dot_picture(np.ones((2, 2)), [0, 0]), "c0") == [[(500, 500)], [(500, 500)]]
