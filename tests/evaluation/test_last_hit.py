"""Every order of the tied items, and exact fractions, are the oracles."""

from fractions import Fraction
from itertools import permutations, product
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.evaluation.last_hit import LastHit, chance, last_hits
from xfeat.evaluation.relevance import same_class


def enumerated(scores: list[int], relevant: list[bool]) -> float:
    """Relevant items over the rank of the last one, mean over every order that the scores allow."""
    levels = [[i for i, score in enumerate(scores) if score == level] for level in sorted(set(scores), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    ranked = [[relevant[i] for level in order for i in level] for order in orders]
    return float(np.mean([sum(one) / (len(one) - one[::-1].index(True)) for one in ranked]))


@given(
    items=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6).filter(
        lambda items: any(relevant for _, relevant in items)
    )
)
def test_equals_the_mean_over_all_orders(items: list[tuple[int, bool]]) -> None:
    scores, relevant = [score for score, _ in items], [relevant for _, relevant in items]
    angles = -torch.tensor(scores, dtype=torch.float64) / 10
    gallery = torch.stack([angles.cos(), angles.sin()], 1)
    query = torch.tensor([[np.cos(1.0), np.sin(-1.0)]])
    hit = last_hits(query, gallery, lambda _: torch.tensor([relevant]), dtype=torch.float64)
    assert float(hit.inverse_negative_penalty()) == pytest.approx(enumerated(scores, relevant), abs=1e-12)


def exact(above: int, tied: int, hits: int, relevant: int) -> Fraction:
    places = range(hits, tied + 1)
    return relevant * sum(Fraction(comb(m - 1, hits - 1), comb(tied, hits) * (above + m)) for m in places)


@given(
    groups=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=9
    )
)
def test_equals_exact_fractions_whatever_else_is_asked_for(groups: list[tuple[int, int, int, int]]) -> None:
    cells = [(above, irrelevant + hits, hits, hits + more) for above, irrelevant, hits, more in groups]
    hit = LastHit(*torch.tensor(cells).T)
    expected = [float(exact(*cell)) for cell in cells]
    np.testing.assert_allclose(hit.inverse_negative_penalty(), expected, rtol=1e-13)


@pytest.mark.parametrize(("tied", "hits"), [(100_000, 1), (100_000, 3), (50_000, 20_000), (3000, 2999), (3000, 3000)])
def test_large_groups_keep_their_digits(tied: int, hits: int) -> None:
    """Binomials overflow here; logarithms of scipy's gamma function are the oracle, and a harmonic number for one."""
    from scipy.special import gammaln

    m = np.arange(hits, tied + 1)
    logs = gammaln(m) - gammaln(hits) - gammaln(m - hits + 1)
    total = gammaln(tied + 1) - gammaln(hits + 1) - gammaln(tied - hits + 1)
    expected = hits * (np.exp(logs - total) / (7 + m)).sum()
    one = [torch.tensor([value]) for value in (7, tied, hits, hits)]
    assert float(LastHit(*one).inverse_negative_penalty()) == pytest.approx(float(expected), rel=1e-6)
    if hits == 1:
        harmonic = (1 / np.arange(tied + 7, 7, -1, dtype=np.longdouble)).sum() / tied
        assert float(LastHit(*one).inverse_negative_penalty()) == pytest.approx(float(harmonic), rel=1e-13)


def test_many_groups_are_worked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    hits = torch.randint(1, 30, (200,), generator=generator)
    hit = LastHit(torch.arange(200), hits + torch.randint(60, (200,), generator=generator), hits, hits)
    whole = hit.inverse_negative_penalty()
    monkeypatch.setattr("xfeat.evaluation.last_hit._TABLE_CELLS", 100)
    torch.testing.assert_close(hit.inverse_negative_penalty(), whole, rtol=0, atol=1e-15)


def test_chance_is_the_mean_over_all_rankings_of_each_querys_gallery() -> None:
    relevant, sizes = torch.tensor([3, 0, 1, 5, 2]), torch.tensor([6, 6, 4, 5, 3])
    found = chance(relevant, sizes).inverse_negative_penalty()
    for row, (count, size) in enumerate(zip(relevant.tolist(), sizes.tolist(), strict=True)):
        expected = enumerated([0] * size, [True] * count + [False] * (size - count)) if count else np.nan
        np.testing.assert_allclose(found[row], expected, atol=1e-12)
    torch.testing.assert_close(chance(relevant[:1], 6).inverse_negative_penalty(), found[:1])


def literal_counts(queries: np.ndarray, gallery: np.ndarray, yq: np.ndarray, yg: np.ndarray) -> list[list[int]]:
    """Above, tied, hits, relevant; one query at a time."""
    found = []
    for query, own in zip(queries, yq, strict=True):
        scores = [float(query @ row) for row in gallery]
        relevant = [score for score, y in zip(scores, yg, strict=True) if y == own]
        worst = min(relevant, default=np.inf)
        found.append(
            [sum(s > worst for s in scores), sum(s == worst for s in scores), relevant.count(worst), len(relevant)]
        )
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(seed=st.integers(0, 999), memory=st.sampled_from([1, 500, 1 << 20]))
def test_equals_counting_one_query_at_a_time(dtype: torch.dtype, seed: int, memory: int) -> None:
    """Rows of +-1 have lengths and products without rounding, and many ties."""
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.choice([-0.25, 0.25], size=(n, 16)) for n in (9, 40))
    yq, yg = rng.integers(12, size=9), rng.integers(12, size=40)
    labels = torch.from_numpy(yq), torch.from_numpy(yg)
    hit = last_hits(
        torch.from_numpy(queries), torch.from_numpy(gallery), same_class(*labels), dtype=dtype, memory=memory
    )
    counts = torch.stack([hit.above, hit.tied, hit.hits, hit.relevant], 1)
    assert counts.tolist() == literal_counts(queries, gallery, yq, yg)


def test_a_perfect_ranking_has_no_penalty_and_a_last_item_a_large_one() -> None:
    truth = torch.tensor([[True, True, False, False], [True, False, False, True]])
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.5, 0.8], [0.0, 1.0]])
    found = last_hits(torch.tensor([[1.0, 0.0]]).expand(2, 2), gallery, lambda rows: truth[rows])
    assert found.inverse_negative_penalty().tolist() == [1.0, 0.5]
