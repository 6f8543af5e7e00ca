"""Line charts as inline SVG that takes its colours from the page, so that they change with light, dark and print.

A plotting library's SVG brings colours, fonts, ids and style sheets of its own, which meet those of the page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 8, 34  # margins
TICKS = 6  # of an axis, about


@dataclass(frozen=True)
class Line:
    """A line of a chart: a colour of the palette, and its points from left to right, one or more."""

    colour: int
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """Numbers along one side of a chart: the least and the greatest, and where they lie in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Of a number in the drawing."""
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + part * (self.end - self.start)

    def ticks(self, *, whole: bool = False) -> list[float]:
        """Round numbers, a few, from end to end; ``whole`` ones only."""
        if not self.high > self.low:
            return [self.low]
        step = _round_step((self.high - self.low) / TICKS, whole)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


def line_chart(lines: Sequence[Line], below: str, *, shares: bool = False) -> Markup:
    """Draw lines over a grid.

    Args:
        lines: one or more; a single point is drawn as one.
        below: what the horizontal axis counts, in whole numbers.
        shares: both axes are shares instead, from 0 to 1, so that charts compare.
    """
    xs = [0.0, 1.0] if shares else [x for line in lines for x, _ in line.points]
    ys = [0.0, 1.0] if shares else [y for line in lines for _, y in line.points]
    across, up = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT), Axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    parts = []
    for tick in up.ticks():
        y = up.place(tick)
        parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, y, WIDTH - RIGHT))
        parts.append(Markup('<text class="beside" x="{}" y="{:.1f}">{}</text>').format(LEFT - 6, y + 4, _number(tick)))
    parts += [
        _below(across.place(tick), HEIGHT - BOTTOM + 15, _number(tick)) for tick in across.ticks(whole=not shares)
    ]
    parts.append(_below((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, below))
    for line in lines:
        path = "L".join(f"{across.place(x):.1f} {up.place(y):.1f}" for x, y in line.points)
        path += "h.01" if len(line.points) == 1 else ""
        kind = " point" if len(line.points) == 1 else " dashed" if line.dashed else ""
        parts.append(Markup('<path class="line{} c{}" d="M{}"/>').format(kind, line.colour, path))
    return Markup('<svg class="chart" viewBox="0 0 {} {}">{}</svg>').format(WIDTH, HEIGHT, Markup("").join(parts))


def _below(x: float, y: float, text: str) -> Markup:
    return Markup('<text class="below" x="{:.1f}" y="{}">{}</text>').format(x, y, text)


def _round_step(step: float, whole: bool) -> float:
    """The next number of 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(step, 1.0 if whole else 0.0)))
    times = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    return next(power * one for one in times if power * one >= step * (1 - 1e-9))


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}"
