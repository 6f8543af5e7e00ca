"""Scatter pictures as inline SVG: paths of dots, a few bytes a dot, sharp in print, coloured by the page."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

SIDE = 1000  # of the drawing, in its own units
EDGE = 30
ROUNDS = 8  # every colour is drawn in so many turns, so that none covers all others


def dot_picture(points: NDArray[np.float64], colours: Sequence[int]) -> Markup:
    """Draw points in a square; both axes have one scale.

    Args:
        points: (n, 2) finite numbers.
        colours: (n,) of the palette; -1 is grey and lies below the others.
    """
    places = _placed(points)
    size = int(np.clip(420 / np.sqrt(max(1, len(points))), 11, 34))
    chosen = np.asarray(colours)
    parts = []
    for turn in range(ROUNDS):
        for colour in np.unique(chosen):
            grey = colour < 0
            if grey and turn:
                continue
            rows = np.flatnonzero(chosen == colour)
            rows = rows if grey else rows[turn::ROUNDS]
            if len(rows):
                # A line of no length with round ends is a dot.
                path = "".join(f"M{x} {y}h.1" for x, y in places[rows].tolist())
                name = "grey" if grey else f"c{colour}"
                parts.append(Markup('<path class="{}" d="{}"/>').format(name, path))
    start = Markup('<svg class="dots" viewBox="0 0 {0} {0}" stroke-width="{1}">').format(SIDE, size)
    return start + Markup("").join(parts) + Markup("</svg>")


def _placed(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n, 2) places in the drawing, the cloud in its middle, upwards as in a plot."""
    low, high = points.min(axis=0), points.max(axis=0)
    reach = float((high - low).max())
    scale = (SIDE - 2 * EDGE) / reach if reach > 0 else 0.0
    centred = (points - (low + high) / 2) * scale * np.array([1.0, -1.0])
    places: NDArray[np.int64] = np.rint(centred + SIDE / 2).astype(np.int64)
    return places
