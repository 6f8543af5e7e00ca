"""The formula over every order of the tied items is the oracle."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.evaluation.discounts import cumulated_discounts
from xfeat.evaluation.gain import gain_of_block, graded
from xfeat.evaluation.ties import Cut

CUTS: list[Cut] = [None, 1, 3, 4, 1000]


def dcg(gains: np.ndarray, cut: Cut) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains[:cut], 1)))


def ndcg(scores: np.ndarray, gains: np.ndarray, cut: Cut) -> float:
    """Of one query, mean over all orders of tied items."""
    levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    return float(np.mean([dcg(gains[np.concatenate(order)], cut) for order in orders])) / dcg(-np.sort(-gains), cut)


@st.composite
def rankings(draw: st.DrawFn, most: int = 3) -> tuple[list[float], list[int]]:
    """Up to six items of few scores and gains, one of them of some gain."""
    size = draw(st.integers(1, 6))
    scores = draw(st.lists(st.sampled_from([1.0, 0.5, 0.0, -1.0]), min_size=size, max_size=size))
    gains = draw(st.lists(st.integers(0, most), min_size=size - 1, max_size=size - 1))
    return scores, [*gains, 1]


@pytest.mark.parametrize("cuts", [CUTS, [1], [3, 2]], ids=str)
@given(dtype=st.sampled_from([torch.float32, torch.float64]), ranking=rankings())
def test_equals_all_orders_with_ties(
    cuts: list[Cut], dtype: torch.dtype, ranking: tuple[list[float], list[int]]
) -> None:
    scores, gains = (np.array(column) for column in ranking)
    block = torch.tensor(np.array([scores, -scores]), dtype=dtype)
    found = gain_of_block(block, torch.tensor(np.array([gains, gains]), dtype=torch.float32), cuts).ndcg()
    expected = [[ndcg(own, gains, cut) for cut in cuts] for own in (scores, -scores)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("cuts", [CUTS, [2, 5]], ids=str)
@given(seed=st.integers(0, 9999))
def test_relevance_is_a_gain_of_one(cuts: list[Cut], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    block = torch.randint(-4, 5, (5, 30), generator=generator) / 4
    truth = torch.rand(5, 30, generator=generator) < 0.2
    truth[0] = False
    by_truth, by_gain = gain_of_block(block, truth, cuts), gain_of_block(block, truth.float(), cuts)
    assert by_truth.ndcg()[0].isnan().all()
    for one, other in zip(vars(by_truth).values(), vars(by_gain).values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@given(seed=st.integers(0, 9999))
def test_the_order_of_items_plays_no_part_and_a_cut_needs_no_full_sort(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    block = torch.randint(-6, 7, (4, 40), generator=generator) / 8
    gains = torch.randint(0, 3, (4, 40), generator=generator).double()
    order = torch.randperm(40, generator=generator)
    whole = gain_of_block(block, gains, [None, 1, 7, 40]).ndcg()
    moved = gain_of_block(block[:, order], gains[:, order], [None, 1, 7, 40]).ndcg()
    np.testing.assert_allclose(moved, whole, atol=1e-12)
    np.testing.assert_allclose(gain_of_block(block, gains, [1, 7]).ndcg(), whole[:, 1:3], atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_collapsed_scores_are_at_chance(value: float) -> None:
    gains = torch.tensor([[2.0, 0, 1, 0, 7, 0], [0, 0, 0, 0, 0, 1.0]])
    found = gain_of_block(torch.full((2, 6), value), gains, CUTS)
    np.testing.assert_allclose(found.ndcg(), found.chance(6, CUTS), atol=1e-12)
    for query, row in enumerate(gains.numpy()):
        expected = [ndcg(np.zeros(6), row, cut) for cut in CUTS]
        np.testing.assert_allclose(found.chance(torch.tensor([6, 6]), CUTS)[query], expected, atol=1e-12)


def test_chance_is_of_as_many_items_as_are_ranked() -> None:
    """Of seven items one is left out, at the bottom and without gain."""
    gains = torch.tensor([[3.0, 0, 1, 0, 0, 0, 0]])
    block = torch.tensor([[0.2, 0.2, 0.2, 0.2, 0.2, 0.2, -1.5]])
    found = gain_of_block(block, gains, CUTS)
    np.testing.assert_allclose(found.ndcg(), found.chance(6, CUTS), atol=1e-12)


def test_gains_of_shared_classes() -> None:
    shared = torch.arange(25.0)
    assert graded(shared.clone(), "linear").tolist() == list(range(25))
    assert graded(shared.clone(), "exponential").tolist() == [2**g - 1 for g in range(25)]


def test_discounts_by_hand() -> None:
    sums = cumulated_discounts(3, torch.device("cpu"))
    np.testing.assert_allclose(sums, [0, 1, 1 + 1 / np.log2(3), 1 + 1 / np.log2(3) + 0.5], atol=1e-15)
    # Järvelin and Kekäläinen's example of gains, with a discount from the second rank on.
    gains = torch.tensor([[3.0, 2, 3, 0, 0, 1, 2, 2, 3, 0]])
    found = gain_of_block(-torch.arange(10.0)[None] / 10, gains, [10]).expected
    np.testing.assert_allclose(found, [[dcg(gains[0].numpy(), None)]], atol=1e-12)
