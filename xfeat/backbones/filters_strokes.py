"""`filters:strokes`: directions of pen strokes over place and over time; no learned weights.

Bai and Huo, "A Study on the Use of 8-Directional Features for Online Handwritten Chinese Character Recognition", ICDAR
2005: equidistant resampling, smoothing, each step shared between its two nearest of 8 directions, and direction maps
blurred and sampled at 8 x 8 places. Beside their signed maps stand unsigned ones, which do not ask from which end a
line was drawn, as a picture does not; pen movements between strokes are kept apart from the ink instead of added to it,
and the aspect is kept. On pen-drawn characters the unsigned maps and a blur of one cell measured best.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.backbones.strokes import FARTHEST, MAX_BYTES, MAX_STROKES, Floats, read_strokes

STEP = 1 / 24  # of the longer side
MAX_STEPS = 4_096
DIRECTIONS = 8
GRID = 8
BLUR = 1.0
ENDS_GRID = 4
LIFTS_GRID = 2
PARTS = 8
MANY_STROKES = 8
LONG_PATH = 16.0  # of the longer side
FLAT = 1e-9
# What each block counts in a distance; where inputs are standardised it does not matter.
WEIGHTS = {"signed": 0.5, "unsigned": 1.0, "course": 0.3, "places": 0.15, "ends": 0.15, "lifts": 0.3, "size": 0.2}


class StrokesBackbone:
    """Pen strokes to a vector of directions (shape) and of their order, every value within [-1, 1].

    Position and size are removed, the aspect is kept; x and y axes are taken as they come.
    Layout of the 916 numbers: 512 signed and 256 unsigned direction maps (8 or 4 directions at 8 x 8 places), 64
    directions in each of 8 equal parts of the ink, 16 mean places of those parts, 32 places where strokes start and end
    (4 x 4 each), 32 pen movements between strokes (8 directions at 2 x 2 places), and 4 sizes: number of strokes,
    length, width, height. Histograms are square roots of shares (Hellinger), so each has norm 1 before its weight.
    """

    kind = "strokes"
    name = "filters:strokes"
    dim = DIRECTIONS * 3 // 2 * GRID**2 + PARTS * (DIRECTIONS + 2) + 2 * ENDS_GRID**2 + DIRECTIONS * LIFTS_GRID**2 + 4

    def fingerprint(self) -> dict[str, Any]:
        """Every setting that changes the numbers, JSON-able."""
        return {
            "backbone": self.name,
            "algorithm": 1,
            "position": "middle of the bounding box",
            "scale": "longer side",
            "time": "order only",
            "resample": {"step": STEP, "most": MAX_STEPS, "smooth": [1, 2, 1]},
            "maps": {"directions": DIRECTIONS, "grid": GRID, "blur": BLUR, "signed": True, "unsigned": True},
            "order": {"parts": PARTS, "ends": ENDS_GRID, "lifts": LIFTS_GRID},
            "size": {"strokes": MANY_STROKES, "length": LONG_PATH},
            "norm": "square root of shares per histogram",
            "weights": dict(WEIGHTS),
            "limits": {"bytes": MAX_BYTES, "strokes": MAX_STROKES, "coordinate": FARTHEST, "flat": FLAT},
            "dim": self.dim,
            "versions": {"numpy": np.__version__},
        }

    def load(self, source: Path | str) -> list[Floats]:
        """Read one file of strokes, normalise and resample it.

        Returns:
            Strokes of (points, 2) float64 in [-1, 1], evenly spaced along the pen's way; a dot is one point.

        Raises:
            SampleError: missing, empty, no stroke, over the limits, or a line that is no point; see ``read_strokes``.
        """
        strokes = _normalised(read_strokes(Path(source)))
        step = max(2 * STEP, sum(_lengths(stroke).sum() for stroke in strokes) / MAX_STEPS)
        return [_smooth(_resample(stroke, step)) for stroke in strokes]

    def encode(self, items: Sequence[list[Floats]]) -> NDArray[np.float32]:
        """Filter n loaded drawings, each on its own so that no row depends on its batch; returns (n, 916) float32."""
        rows = [_describe(item) for item in items]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.dim), np.float32)


def _normalised(strokes: list[Floats]) -> list[Floats]:
    """Move the middle of the bounding box to 0 and bring its longer side to [-1, 1]; a lone dot lies at 0."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    reach = float((high - low).max()) / 2
    if reach <= max(FLAT * float(np.abs(points).max()), 1e-100):  # what is left is rounding
        return [np.zeros((1, 2)) for _ in strokes]
    return [np.clip((stroke - (low + high) / 2) / reach, -1, 1) for stroke in strokes]


def _lengths(stroke: Floats) -> Floats:
    return np.asarray(np.hypot(*np.diff(stroke, axis=0).T))


def _resample(stroke: Floats, step: float) -> Floats:
    """Points at most ``step`` apart along the stroke, both ends kept."""
    moved = np.concatenate([[True], _lengths(stroke) > 0])
    stroke = stroke[moved]
    way = np.concatenate([[0.0], np.cumsum(_lengths(stroke))])
    if way[-1] == 0:
        return stroke[:1]
    places = np.linspace(0, way[-1], max(1, math.ceil(way[-1] / step - FLAT)) + 1)
    return np.stack([np.interp(places, way, axis) for axis in stroke.T], axis=1)


def _smooth(stroke: Floats) -> Floats:
    inner = (stroke[:-2] + 2 * stroke[1:-1] + stroke[2:]) / 4
    return np.concatenate([stroke[:1], inner, stroke[-1:]]) if len(stroke) > 2 else stroke


def _describe(strokes: list[Floats]) -> Floats:
    begins, ends = (np.concatenate([part[chosen] for part in strokes]) for chosen in (np.s_[:-1], np.s_[1:]))
    votes, length, middle = _votes(ends - begins), np.hypot(*(ends - begins).T), (begins + ends) / 2
    signed = _maps(votes, middle, GRID, BLUR)
    half = DIRECTIONS // 2
    starts, stops = (np.stack([stroke[place] for stroke in strokes]) for place in (0, -1))
    lifts = starts[1:] - stops[:-1]
    one = np.ones((len(strokes), 1))
    blocks = {
        "signed": _shares(signed),
        "unsigned": _shares(signed[:half] + signed[half:]),
        "course": _shares(_parts(length).T @ votes),
        "places": _places(length, middle),
        "ends": np.concatenate([_shares(_maps(one, where, ENDS_GRID)) for where in (starts, stops)]),
        "lifts": _shares(_maps(_votes(lifts), (starts[1:] + stops[:-1]) / 2, LIFTS_GRID)),
        "size": _size(strokes, float(length.sum())),
    }
    return np.concatenate([WEIGHTS[name] * block for name, block in blocks.items()])


def _votes(steps: Floats) -> Floats:
    """(n, 8) lengths of (n, 2) steps, each shared linearly between its two nearest directions."""
    position = np.arctan2(steps[:, 1], steps[:, 0]) * (DIRECTIONS / (2 * np.pi))
    lower = np.floor(position)
    share, length = position - lower, np.hypot(*steps.T)
    index, row = lower.astype(np.int64) % DIRECTIONS, np.arange(len(steps))
    votes = np.zeros((len(steps), DIRECTIONS))
    votes[row, index] = length * (1 - share)
    votes[row, (index + 1) % DIRECTIONS] = length * share
    return votes


def _maps(votes: Floats, where: Floats, grid: int, blur: float = 0.0) -> Floats:
    """Sum (n, V) votes at (n, 2) places in [-1, 1] into (V, grid, grid) maps, rows by y."""
    columns, rows = (_spread(axis, grid, blur) for axis in where.T)
    cells = (rows[:, :, None] * columns[:, None, :]).reshape(len(where), grid * grid)
    return np.asarray(votes.T @ cells).reshape(-1, grid, grid)


def _spread(place: Floats, cells: int, blur: float = 0.0) -> Floats:
    """(n, cells) weights of n places in [-1, 1]: Gaussian, or falling linearly to the next cell without ``blur``."""
    distance = np.abs((place[:, None] + 1) / 2 * cells - 0.5 - np.arange(cells))
    return np.asarray(np.exp(-((distance / blur) ** 2) / 2) if blur else np.maximum(0.0, 1.0 - distance))


def _parts(length: Floats) -> Floats:
    """(n, PARTS) shares of n steps in equal parts of the ink, each step shared between the two nearest."""
    total = max(float(length.sum()), FLAT)
    weights = _spread((np.cumsum(length) - length / 2) / total * 2 - 1, PARTS)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _places(length: Floats, middle: Floats) -> Floats:
    """Mean place of each part of the ink, scaled so that the block's norm is at most about 1."""
    weights = _parts(length) * length[:, None]
    means = (weights.T @ middle) / np.maximum(weights.sum(axis=0), FLAT)[:, None]
    return np.asarray(means.ravel() / np.sqrt(2 * PARTS))


def _size(strokes: list[Floats], length: float) -> Floats:
    points = np.concatenate(strokes)
    width, height = (points.max(axis=0) - points.min(axis=0)) / 2
    return np.array([min(len(strokes) / MANY_STROKES, 1), min(length / 2 / LONG_PATH, 1), width, height])


def _shares(histogram: Floats) -> Floats:
    total = float(histogram.sum())
    return np.sqrt(histogram.ravel() / total) if total > 0 else np.zeros(histogram.size)
