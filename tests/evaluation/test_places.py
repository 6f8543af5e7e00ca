"""The two ways to rank a block, by NumPy and by torch, are each other's oracle; argsort is that of both."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xfeat.evaluation import sorting
from xfeat.evaluation.places import Places, find_places, pack, places_of_keys
from xfeat.evaluation.ties import Cut

CUTS: list[Cut] = [None, 1, 4, 1000]
DTYPES = [torch.float32, torch.float64]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 1.0000001, -1.5, 1e-45, -1e-45, 1e-300]


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    scores=st.lists(st.floats(-1.0, 1.0, width=32) | st.sampled_from(NUMBERS), min_size=1, max_size=30),
    seed=st.integers(0, 99),
)
def test_keys_sort_as_scores_then_relevance(dtype: torch.dtype, scores: list[float], seed: int) -> None:
    relevant = np.random.default_rng(seed).integers(2, size=len(scores))
    table = torch.tensor([scores], dtype=dtype)
    numbers = table[0].numpy().copy()
    keys = pack(table, torch.tensor([relevant.tolist()]).bool()).sort().values[0].numpy()
    order = np.lexsort([relevant, -numbers])
    assert (keys & 1).tolist() == relevant[order].tolist()
    assert (np.diff(keys >> 1) == 0).tolist() == (np.diff(numbers[order]) == 0).tolist()


def tables(seed: int, rows: int, width: int, levels: int) -> tuple[Tensor, Tensor]:
    """Scores of few values, so that many tie, and relevance of a random share of the items."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels + 1, (rows, width), generator=generator) / levels
    return scores, torch.rand(rows, width, generator=generator) < torch.rand(rows, 1, generator=generator) ** 3


def found_places(block: Tensor, truth: Tensor, cuts: list[Cut], pieces: bool) -> Places:
    """`find_places`, with long rows sorted in pieces or whole, whichever is faster on this processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_pieces_are_faster", lambda: pieces)
        return find_places(block, truth, cuts)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 9999),
    rows=st.integers(1, 6),
    width=st.sampled_from([1, 2, 5, 40, 1100]),
    levels=st.sampled_from([1, 3, 200, 1 << 20]),
    pieces=st.booleans(),
)
def test_numpy_and_torch_find_the_same(
    dtype: torch.dtype, seed: int, rows: int, width: int, levels: int, pieces: bool
) -> None:
    scores, truth = tables(seed, rows, width, levels)
    found = found_places(scores.to(dtype, copy=True), truth, CUTS, pieces)
    other = places_of_keys(pack(scores.to(dtype, copy=True), truth).sort(dim=1).values, CUTS)
    assert torch.equal(found.relevant, other.relevant)
    for name, field in vars(found.groups).items():
        assert name == "gallery" or torch.equal(field, getattr(other.groups, name))
    for one, two in zip(found.certain, other.certain, strict=True):
        assert torch.equal(one.hits, two.hits)
        torch.testing.assert_close(one.sums, two.sums, rtol=0, atol=1e-11)
        torch.testing.assert_close(one.discounted, two.discounted, rtol=0, atol=1e-11)


@settings(max_examples=25)
@given(seed=st.integers(0, 9999), width=st.sampled_from([3, 30, 1300]), pieces=st.booleans())
def test_groups_are_the_mixed_ties(seed: int, width: int, pieces: bool) -> None:
    scores, truth = tables(seed, 3, width, 2)
    found = found_places(scores.clone(), truth, [None], pieces)
    expected = []
    for query, (row, flags) in enumerate(zip(scores.numpy(), truth.numpy(), strict=True)):
        for level in np.unique(row)[::-1]:
            tied = row == level
            if 0 < flags[tied].sum() < tied.sum():
                above = row > level
                expected.append((query, above.sum(), tied.sum(), flags[tied].sum(), flags[above].sum()))
    fields = [found.groups.query, found.groups.start, found.groups.size, found.groups.relevant, found.groups.before]
    assert torch.stack(fields, 1).tolist() == [[int(number) for number in group] for group in expected]


def test_places_are_the_same_to_the_last_bit_however_rows_are_sorted() -> None:
    scores, truth = tables(0, 40, 5000, 300)
    one, other = (found_places(scores.clone(), truth, CUTS, pieces) for pieces in (False, True))
    assert torch.equal(one.relevant, other.relevant)
    for name in ("query", "start", "size", "relevant", "before", "gallery"):
        assert torch.equal(*(torch.as_tensor(getattr(found.groups, name)) for found in (one, other)))
    for first, second in zip(one.certain, other.certain, strict=True):
        for name in vars(first):
            assert torch.equal(getattr(first, name), getattr(second, name))
