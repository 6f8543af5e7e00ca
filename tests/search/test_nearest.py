import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfeat.evaluation.similarity import Similarity, unit_rows
from xfeat.evaluation.top import Top
from xfeat.search.nearest import Nearest


def literal(rows: NDArray[np.float32], query: NDArray[np.float32], k: int, own: int) -> list[tuple[int, float]]:
    """Places and scores, every product summed in float64, the first of equals first."""
    found = []
    for place, row in enumerate(rows):
        if place != own:
            found.append((place, float(np.float32(np.sum(row.astype(np.float64) * query.astype(np.float64))))))
    return sorted(found, key=lambda one: -one[1])[:k]


def same(one: Top, other: Top) -> bool:
    return torch.equal(one.items, other.items) and torch.equal(one.scores, other.scores)


def crowded(seed: int, rows: int, dims: int) -> torch.Tensor:
    """Rows that differ in their last digits, some not at all, and one that is zero."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(1, dims)) + rng.choice([0, 1e-7, 1e-3, 1], size=(rows, 1)) * rng.normal(size=(rows, dims))
    found[rng.integers(rows)] = 0
    return torch.from_numpy(found[rng.integers(rows, size=rows)].astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 70), st.integers(1, 12), st.integers(1, 12), st.booleans()
)
def test_a_query_finds_the_same_alone_and_among_others(
    seed: int, rows: int, dims: int, count: int, k: int, cosine: bool
) -> None:
    similarity: Similarity = "cosine" if cosine else "inner product"
    gallery, queries = crowded(seed, rows, dims), crowded(seed + 1, count, dims)
    if cosine:
        gallery = unit_rows(gallery)
    own = torch.from_numpy(np.random.default_rng(seed).integers(-1, rows, count))
    nearest = Nearest(gallery, similarity)
    together = nearest.search(queries, k, own)
    exact = unit_rows(queries) if cosine else queries
    for number in range(count):
        only = slice(number, number + 1)
        alone = nearest.search(queries[only], k, own[only])
        assert same(alone, Top(together.items[only], together.scores[only]))
        expected = literal(gallery.numpy(), exact[number].numpy(), k, int(own[number]))
        there = alone.items[0] >= 0
        assert list(zip(alone.items[0][there].tolist(), alone.scores[0][there].tolist(), strict=True)) == expected
        assert (alone.scores[0][~there] == -torch.inf).all()
    assert same(nearest.search(queries, k, own, memory=1), together)


def test_more_rows_and_dimensions_than_a_kernel_takes_at_once() -> None:
    """Products of one query with so many rows are summed in another order than those of many queries."""
    gallery, queries = unit_rows(crowded(0, 5000, 256)), crowded(1, 40, 256)
    nearest = Nearest(gallery, "cosine")
    together = nearest.search(queries, 20)
    units = unit_rows(queries)
    for row in range(0, 40, 8):
        alone = nearest.search(queries[row : row + 1], 20)
        assert same(alone, Top(together.items[row : row + 1], together.scores[row : row + 1]))
        assert alone.items[0].tolist() == [place for place, _ in literal(gallery.numpy(), units[row].numpy(), 20, -1)]


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e30, 1e37])
def test_lengths_at_the_ends_of_the_numbers(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows, queries = (torch.from_numpy(rng.normal(size=(n, 9)).astype(np.float32)) for n in (50, 3))
    expected = Nearest(rows, "inner product").search(queries, 5)
    found = Nearest(rows * scale, "inner product").search(queries, 5)
    assert torch.equal(found.items, expected.items)
    torch.testing.assert_close(found.scores.double() / scale, expected.scores.double(), rtol=1e-5, atol=0)
    assert torch.equal(Nearest(rows, "inner product").search(queries * scale, 5).items, expected.items)


def test_rows_of_the_smallest_numbers_there_are() -> None:
    rows = torch.tensor([[1, 0], [3, 0], [2, 0], [0, 0]]) * 2.0**-149
    assert Nearest(rows, "inner product").search(torch.tensor([[1.0, 0.0]]), 4).items.tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scores_that_float32_cannot_tell_apart_are_ranked_by_their_products(scale: float) -> None:
    """Whatever k is: the first of many are those that few find."""
    rng = np.random.default_rng(0)
    rows, queries = (torch.from_numpy(rng.normal(size=(n, 9)).astype(np.float32)) for n in (50, 3))
    rows = rows * queries[:1].sign()  # of one side, so that many products are positive
    expected = Nearest(rows, "inner product").search(queries, 12).items
    nearest = Nearest(rows * scale, "inner product")
    for k in (1, 4, 12):
        found = nearest.search(queries * scale, k)
        assert torch.equal(found.items, expected[:, :k])
        assert set(found.scores.flatten().tolist()) <= {0.0, torch.inf}
