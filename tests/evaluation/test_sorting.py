from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.evaluation import sorting
from xfeat.evaluation.sorting import _PIECE, _sort_in_pieces, sort_rows, sortable_width


def in_pieces(width: int) -> int:
    """The width that rows of this width are filled up to where they are sorted in pieces."""
    pieces = -(-width // _PIECE)
    piece = -(-width // pieces)
    return pieces * (piece + piece % 2)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 9999),
    width=st.sampled_from([1025, 1537, 4000, 9999]),
    kind=st.sampled_from(["random", "few values", "rising", "falling", "blocks"]),
)
def test_pieces_give_what_sorting_the_row_gives(seed: int, width: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    width = in_pieces(width)
    table = rng.integers(-(1 << 30), 1 << 30, size=(3, width), dtype=np.int32)
    if kind == "few values":
        table %= 3
    elif kind in ("rising", "falling"):
        table.sort(axis=1)
        table = np.ascontiguousarray(table[:, :: 1 if kind == "rising" else -1])
    elif kind == "blocks":
        table += (np.arange(width) // _PIECE % 3 << 28).astype(np.int32)
    expected = np.sort(table, axis=1)
    _sort_in_pieces(table)
    np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize("pieces", [False, True])  # whichever is faster on this processor
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("width", [1, 7, 512, 1024, 1025, 5000])
def test_rows_of_any_width_are_sorted_once_they_are_filled(
    monkeypatch: pytest.MonkeyPatch, width: int, dtype: type, pieces: bool
) -> None:
    monkeypatch.setattr(sorting, "_pieces_are_faster", lambda: pieces)
    rng = np.random.default_rng(0)
    filled = sortable_width(width, np.dtype(dtype))
    assert width <= filled <= width + width // 100 + 20
    table: NDArray[Any] = np.full((4, filled), 1 << 30, dtype)
    table[:, :width] = rng.integers(-100, 100, size=(4, width))
    expected = np.sort(table, axis=1)
    sort_rows(table)
    np.testing.assert_array_equal(table, expected)
