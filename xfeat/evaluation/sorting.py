"""Sort the rows of a table of integers, as fast as NumPy can be made to.

NumPy sorts up to 512 values of 32 bits in vector registers. Longer rows it partitions first, by an AVX-512 instruction
that takes a hundred cycles on some processors (AMD Zen 4): there two thirds of the time goes into it. Rows can be
sorted without it, by sorting pieces of 512 values alone: dealt out like cards, after Leighton, "Tight Bounds on the
Complexity of Parallel Sorting", IEEE Trans. Computers 1985 ("columnsort"), until all are in order.
"""

import time
from functools import cache
from itertools import cycle
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 512
_SHORT = 1024  # rows that are no longer gain nothing
_TRIAL = Lock()


def sortable_width(width: int, dtype: np.dtype[Any]) -> int:
    """Width, ``width`` or a little more, of a table that `sort_rows` takes; what is added is to be filled, large."""
    if not _in_pieces(width, dtype):
        return width
    pieces = -(-width // _PIECE)
    piece = -(-width // pieces)
    return pieces * (piece + piece % 2)


def sort_rows(table: NDArray[np.signedinteger[Any]]) -> None:
    """Sort each row, ascending, in place.

    Args:
        table: (n, w) contiguous, w of `sortable_width`.
    """
    if _in_pieces(table.shape[1], table.dtype):
        _sort_in_pieces(table)
    else:
        table.sort(axis=1)


def _in_pieces(width: int, dtype: np.dtype[Any]) -> bool:
    if dtype.itemsize != 4 or width <= _SHORT:
        return False
    with _TRIAL:  # two threads that try at once might not agree
        return _pieces_are_faster()


def _sort_in_pieces(table: NDArray[Any]) -> None:
    rows, width = table.shape
    pieces = -(-width // _PIECE)
    piece = width // pieces
    inner = table[:, piece // 2 : -(piece // 2)]  # the halves of neighbouring pieces
    whole, halves = table.reshape(rows, pieces, piece), inner.reshape(rows, pieces - 1, piece)
    whole.sort(axis=2)
    # Every hand of cards, one of each `pieces`, now has nearly the same share of each sorted piece: once it is sorted,
    # no value is far from its place. (Sorting a row's neighbours by turns alone would get there too, slowly.)
    table.reshape(rows, piece, pieces).sort(axis=1)
    for near, seam in cycle(((whole, piece), (halves, piece // 2))):
        near.sort(axis=2)
        # Between the seams all is in order; what sorting halves leaves at the ends was before.
        if (table[:, seam::piece] >= table[:, seam - 1 : -1 : piece]).all():
            return


@cache
def _pieces_are_faster() -> bool:
    """Whether they are on this processor: tried once, in a few milliseconds."""
    table = np.random.default_rng(0).integers(1 << 30, size=(4, 16 * _PIECE), dtype=np.int32)
    return _seconds(_sort_in_pieces, table) < _seconds(lambda rows: rows.sort(axis=1), table)


def _seconds(sort: Any, table: NDArray[Any]) -> float:
    taken = []
    for _ in range(5):
        rows = table.copy()
        started = time.perf_counter()
        sort(rows)
        taken.append(time.perf_counter() - started)
    return min(taken)
