"""Every order of the tied items, one by one in float64, is the oracle."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.evaluation.ties import (
    Certain,
    Cut,
    Denominator,
    TieGroups,
    chance_average_precision,
    expected_average_precision,
    segment_sums,
)

CUTS: list[Cut] = [None, 1, 2, 3, 4, 6, 50]
DENOMINATORS: list[Denominator] = ["hits", "min"]


def literal_average_precision(ranked: list[int], cut: Cut, denominator: Denominator) -> float:
    within = ranked if cut is None else ranked[:cut]
    total = sum(sum(within[: i + 1]) / (i + 1) for i, relevant in enumerate(within) if relevant)
    if cut is None:
        return total / sum(ranked)
    most = sum(within) if denominator == "hits" else min(cut, sum(ranked))
    return total / most if most else 0.0


def enumerated(groups: list[list[int]], cut: Cut, denominator: Denominator) -> float:
    """Mean over all orders inside the groups; a group is the relevance (0 or 1) of its items."""
    orders = product(*(list(permutations(group)) for group in groups))
    values = [literal_average_precision([r for group in order for r in group], cut, denominator) for order in orders]
    return float(np.mean(values))


def from_groups(groups: list[list[int]], cut: Cut, denominator: Denominator) -> float:
    starts = np.cumsum([0] + [len(g) for g in groups])
    before = np.cumsum([0] + [sum(g) for g in groups])
    fields = [starts[:-1], [len(g) for g in groups], [sum(g) for g in groups], before[:-1]]
    tied = TieGroups(
        torch.zeros(len(groups), dtype=torch.int64), *(torch.as_tensor(f) for f in fields), int(starts[-1])
    )
    nothing = torch.zeros(1, dtype=torch.float64)
    relevant = torch.tensor([int(before[-1])])
    return float(expected_average_precision(tied, Certain(nothing, nothing, nothing), relevant, cut, denominator))


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("cut", CUTS)
@given(groups=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1, max_size=3))
def test_equals_the_mean_over_all_orders(cut: Cut, denominator: Denominator, groups: list[list[int]]) -> None:
    if not any(map(any, groups)):
        assert np.isnan(from_groups(groups, cut, denominator))
    else:
        expected = enumerated(groups, cut, denominator)
        assert from_groups(groups, cut, denominator) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("cut", CUTS)
def test_chance_is_the_mean_over_all_rankings(cut: Cut, denominator: Denominator) -> None:
    relevant = torch.tensor([3, 0, 1, 6, 3])
    chance = chance_average_precision(relevant, 6, cut, denominator)
    expected = [enumerated([[1] * r + [0] * (6 - r)], cut, denominator) if r else np.nan for r in relevant.tolist()]
    np.testing.assert_allclose(chance, expected, atol=1e-13)


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("cut", CUTS)
def test_chance_of_galleries_of_different_sizes(cut: Cut, denominator: Denominator) -> None:
    relevant, sizes = torch.tensor([3, 0, 1, 6, 3, 3]), torch.tensor([6, 4, 5, 6, 4, 6])
    chance = chance_average_precision(relevant, sizes, cut, denominator)
    alone = [chance_average_precision(relevant[[i]], int(sizes[i]), cut, denominator) for i in range(len(relevant))]
    torch.testing.assert_close(chance, torch.cat(alone), rtol=0, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize(
    ("gallery", "relevant", "cut"), [(100_000, 10_000, 50), (100_000, 2, 5_000), (5_000, 2_500, 3_000)]
)
def test_chance_at_a_cut_of_large_galleries(gallery: int, relevant: int, cut: int) -> None:
    """Factorials overflow here; scipy's hypergeometric distribution and the defining sums are the oracle."""
    from scipy.stats import hypergeom

    hits = np.arange(1, min(cut, relevant) + 1)
    place = np.arange(1, cut + 1)
    # h relevant items in random order over the places: E[precision summed] / h.
    a, b = (1 / place).sum(), ((place - 1) / place).sum()
    expected = (hypergeom.pmf(hits, gallery, relevant, cut) * (a + (hits - 1) / (cut - 1) * b) / cut).sum()
    value = chance_average_precision(torch.tensor([relevant]), gallery, cut, "hits")
    assert float(value) == pytest.approx(expected, rel=1e-8)


def test_chance_over_a_large_gallery_keeps_its_digits() -> None:
    gallery, relevant = 100_000, 77
    place = np.arange(1, gallery + 1, dtype=np.longdouble)
    expected = ((1 + (place - 1) * (relevant - 1) / (gallery - 1)) / place).sum() / gallery
    value = chance_average_precision(torch.tensor([relevant]), gallery, None, "hits")
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


def test_many_cut_groups_are_worked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    relevant = torch.arange(1, 40)
    whole = chance_average_precision(relevant, 60, 20, "hits")
    monkeypatch.setattr("xfeat.evaluation.ties._TABLE_CELLS", 100)
    torch.testing.assert_close(chance_average_precision(relevant, 60, 20, "hits"), whole, rtol=0, atol=1e-15)


def test_segment_sums_of_empty_segments_are_zero() -> None:
    sums = segment_sums(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 0, 2, 2, 3, 3]))
    assert sums.tolist() == [0.0, 3.0, 0.0, 4.0, 0.0]
    assert segment_sums(torch.empty(0), torch.tensor([0, 0, 0])).tolist() == [0.0, 0.0]
