"""Pen strokes from text files: one point per line, strokes apart."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import SampleError

MAX_BYTES = 4_000_000
MAX_STROKES = 10_000
FARTHEST = 1e12  # no device's coordinate; sums and squares of smaller ones cannot overflow

Floats = NDArray[np.float64]

_APART = re.compile(r"[,;\s]+")


def read_strokes(path: Path) -> list[Floats]:
    """Read one drawing.

    A line holds ``x,y`` or ``x,y,t``, separated by commas, semicolons or blanks; a line ``BREAK`` or ``START`` or an
    empty one ends a stroke (the format of Omniglot, and plain tables). The time is checked and left: its unit and its
    rate are the device's.

    Returns:
        At least one stroke, (points, 2) float64, in the order drawn; no stroke is empty.

    Raises:
        SampleError: missing, empty, not UTF-8, over 4 MB or 10,000 strokes, no stroke, or a line that is no point.
    """
    strokes: list[list[tuple[float, float]]] = [[]]
    for number, line in enumerate(_text(path).split("\n"), start=1):
        word = line.strip()
        if word.upper() not in ("", "START", "BREAK"):
            strokes[-1].append(_point(word, number))
        elif strokes[-1]:
            strokes.append([])
    drawn = [np.array(points) for points in strokes if points]
    if not drawn:
        raise SampleError("no stroke in the file")
    if len(drawn) > MAX_STROKES:
        raise SampleError(f"{len(drawn)} strokes are over the limit of {MAX_STROKES}")
    return drawn


def _text(path: Path) -> str:
    if not path.is_file():
        raise SampleError("file not found")
    size = path.stat().st_size
    if not size:
        raise SampleError("empty file")
    if size > MAX_BYTES:
        raise SampleError(f"stroke file of {size} bytes is over the limit of {MAX_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SampleError("stroke file is not UTF-8") from None


def _point(word: str, line: int) -> tuple[float, float]:
    try:
        numbers = [float(cell) for cell in _APART.split(word)]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3):
        raise SampleError(f"line {line} is not x,y or x,y,t: {word[:30]!r}")
    if not np.isfinite(numbers).all():
        raise SampleError(f"line {line}: non-finite number")
    x, y = numbers[:2]
    if max(abs(x), abs(y)) > FARTHEST:
        raise SampleError(f"line {line}: coordinate beyond {FARTHEST:g}")
    return x, y
