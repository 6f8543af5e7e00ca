import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.evaluation.top import top_items


def literal(scores: Tensor, k: int, out: Tensor) -> list[list[int]]:
    """Best first, the first of equals first; what is left out is nobody's."""
    rows = []
    for row, gone in zip(scores.tolist(), out.tolist(), strict=True):
        kept = [i for i in range(len(row)) if not gone[i]]
        best = sorted(kept, key=lambda i: (-row[i], i))[:k]
        rows.append(best + [-1] * (min(k, len(row)) - len(best)))
    return rows


@given(
    seed=st.integers(0, 2**16),
    queries=st.integers(1, 6),
    gallery=st.integers(1, 40),
    k=st.integers(1, 50),
    values=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_equals_the_literal_order_with_many_ties(seed, queries, gallery, k, values, dtype):
    # Numbers, not vectors: sums of products would round ties apart.
    generator = np.random.default_rng(seed)
    q = torch.from_numpy(generator.integers(-values, values + 1, (queries, 1))).double()
    g = torch.from_numpy(generator.integers(-values, values + 1, (gallery, 1))).double()
    out = torch.from_numpy(generator.random((queries, gallery)) < 0.3)
    found = top_items(
        q, g, k, similarity="inner product", excluded=lambda rows: out[rows], dtype=dtype, memory=40 * gallery
    )
    assert found.items.tolist() == literal(q @ g.T, k, out)
    there = found.items >= 0
    longest = q.norm(dim=1).amax() * g.norm(dim=1).amax()
    expected = (q @ g.T).gather(1, found.items.clamp(min=0)) / longest.where(longest > 0, 1.0)
    torch.testing.assert_close(found.scores[there].double(), expected[there], rtol=0, atol=1e-6)
    assert bool((found.scores[~there] == -torch.inf).all())


def test_scores_are_cosines_and_do_not_depend_on_the_size_of_blocks():
    generator = torch.Generator().manual_seed(0)
    q, g = (torch.randn(rows, 8, generator=generator) for rows in (30, 70))
    whole = top_items(q, g, 5)
    torch.testing.assert_close(whole.scores, (normalize(q) @ normalize(g).T).topk(5).values)
    pieces = top_items(q, g, 5, memory=1)
    assert torch.equal(whole.items, pieces.items)
    torch.testing.assert_close(whole.scores, pieces.scores)


def test_a_collapsed_gallery_keeps_its_order():
    found = top_items(torch.randn(3, 4), torch.ones(9, 4), 4)
    assert found.items.tolist() == [[0, 1, 2, 3]] * 3


def test_refuses_no_places():
    with pytest.raises(ValueError, match="k must be 1"):
        top_items(torch.eye(2), torch.eye(2), 0)
