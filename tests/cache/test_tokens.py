import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfeat.cache import Tokens
from xfeat.cache.tokens import offsets_of
from xfeat.errors import InputError

ragged = st.lists(st.integers(0, 4), min_size=1, max_size=8)


def make(lengths: list[int]) -> Tokens:
    offsets = offsets_of(np.array(lengths))
    return Tokens(np.arange(2 * offsets[-1], dtype=np.float32).reshape(-1, 2), offsets)


def sequences(tokens: Tokens) -> list[list[list[float]]]:
    """Sample by sample, token by token: what the two arrays stand for."""
    return [tokens.values[tokens.offsets[i] : tokens.offsets[i + 1]].tolist() for i in range(len(tokens))]


@given(lengths=ragged, data=st.data())
def test_rows_are_those_of_the_list_of_sequences(lengths: list[int], data: st.DataObject) -> None:
    tokens = make(lengths)
    assert tokens.lengths.tolist() == lengths
    keep = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    expected = [sequence for sequence, kept in zip(sequences(tokens), keep, strict=True) if kept]
    assert sequences(tokens.rows(np.array(keep))) == expected
    order = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=10))
    assert sequences(tokens.rows(np.array(order, np.int64))) == [sequences(tokens)[row] for row in order]


@given(lengths=ragged, cut=st.integers(0, 8))
def test_slices_put_together_are_the_whole(lengths: list[int], cut: int) -> None:
    tokens, cut = make(lengths), min(cut, len(lengths))
    parts = [tokens.slice(0, cut), tokens.slice(cut, len(lengths))]
    assert sequences(parts[0]) == sequences(tokens)[:cut]
    assert np.shares_memory(tokens.slice(0, len(lengths)).values, tokens.values) or not len(tokens.values)
    whole = Tokens.concatenate(parts)
    assert sequences(whole) == sequences(tokens)
    assert whole.offsets.dtype == np.int64


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (np.array([0, 2, 4], np.int32), "offsets are (3,) int32"),
        (np.zeros((2, 2), np.int64), "offsets are (2, 2) int64"),
        (np.zeros(0, np.int64), "offsets are (0,) int64"),
        (np.array([1, 2, 4]), "offsets run from 1 to 4: they run from 0 to the number of tokens, 4"),
        (np.array([0, 2, 5]), "offsets run from 0 to 5"),
        (np.array([0, 3, 2, 4]), "offsets fall from 3 to 2 at sample 1"),
    ],
)
def test_offsets_that_cut_nothing_are_refused(offsets: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Tokens(np.zeros((4, 2)), offsets)
