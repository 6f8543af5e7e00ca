"""Every order of the tied items, one by one in float64, is the oracle."""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xfeat.evaluation.first_hit import FirstHit, chance, first_hits, tie_counts_of_block
from xfeat.evaluation.relevance import same_class

CUTS = (1, 2, 3, 5, 8, 50)
DTYPES = [torch.float32, torch.float64]


def enumerated_ranks(scores: list[int], relevant: list[bool]) -> list[int]:
    """Rank of the first relevant item in every order that the scores allow."""
    levels = [[i for i, score in enumerate(scores) if score == level] for level in sorted(set(scores), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    return [1 + [relevant[i] for level in order for i in level].index(True) for order in orders]


def hit_of(scores: list[int], relevant: list[bool]) -> FirstHit:
    """Scores as the cosines of directions in a plane, the nearer the higher."""
    angles = -torch.tensor(scores, dtype=torch.float64) / 10
    gallery = torch.stack([angles.cos(), angles.sin()], 1)
    query = torch.stack([torch.tensor(1.0).cos(), torch.tensor(-1.0).sin()]).double()[None]
    return first_hits(query, gallery, lambda _: torch.tensor([relevant]), dtype=torch.float64)


@given(
    items=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6).filter(
        lambda items: any(relevant for _, relevant in items)
    )
)
def test_equals_the_mean_over_all_orders(items: list[tuple[int, bool]]) -> None:
    scores, relevant = [score for score, _ in items], [relevant for _, relevant in items]
    ranks = enumerated_ranks(scores, relevant)
    hit = hit_of(scores, relevant)
    assert float(hit.rank()) == pytest.approx(float(np.mean(ranks)), abs=1e-12)
    for cut in CUTS:
        assert float(hit.within(cut)) == pytest.approx(float(np.mean([rank <= cut for rank in ranks])), abs=1e-12)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 60))
def test_equals_the_hypergeometric_distribution(above: int, irrelevant: int, hits: int, cut: int) -> None:
    size = irrelevant + hits
    hit = FirstHit(*(torch.tensor([value]) for value in (above, size, hits, hits)))
    # P(no relevant item in the first m places), in exact arithmetic.
    places, missed = max(0, min(cut - above, size)), Fraction(1)
    for place in range(places):
        missed *= Fraction(max(0, irrelevant - place), size - place)
    assert float(hit.within(cut)) == pytest.approx(float(1 - missed), abs=1e-13)
    # E[rank] = sum over k of P(rank > k).
    tail, expected = Fraction(1), Fraction(above)
    for place in range(size):
        expected += tail
        tail *= Fraction(max(0, irrelevant - place), size - place)
    assert float(hit.rank()) == pytest.approx(float(expected), rel=1e-13)


def test_a_single_relevant_item_has_the_average_rank_of_its_tie() -> None:
    hit = hit_of([3, 2, 2, 2, 1], [False, True, False, False, False])
    assert float(hit.rank()) == 3.0
    assert [float(hit.within(cut)) for cut in (1, 2, 3, 4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_chance_is_the_mean_over_all_rankings() -> None:
    relevant = torch.tensor([3, 0, 1, 6])
    hit = chance(relevant, 6)
    for row, count in enumerate(relevant.tolist()):
        flags = [True] * count + [False] * (6 - count)
        for cut in CUTS:
            ranks = enumerated_ranks([0] * 6, flags) if count else []
            expected = np.mean([rank <= cut for rank in ranks]) if count else 0.0
            assert float(hit.within(cut)[row]) == pytest.approx(expected, abs=1e-12)
        if count:
            assert float(hit.rank()[row]) == pytest.approx(np.mean(ranks), abs=1e-12)


def test_chance_of_galleries_of_different_sizes() -> None:
    relevant, sizes = torch.tensor([3, 0, 1, 2]), torch.tensor([6, 5, 4, 2])
    hit = chance(relevant, sizes)
    alone = [chance(relevant[[i]], int(sizes[i])) for i in range(4)]
    assert hit.rank().tolist() == [float(one.rank()) for one in alone]
    assert hit.within(2).tolist() == [float(one.within(2)) for one in alone]


def literal_counts(queries: np.ndarray, gallery: np.ndarray, yq: np.ndarray, yg: np.ndarray) -> np.ndarray:
    """Above, tied, hits, relevant; one query at a time."""
    found = []
    for query, own in zip(queries, yq, strict=True):
        scores = [float(query @ row) for row in gallery]
        relevant = [score for score, y in zip(scores, yg, strict=True) if y == own]
        best = max(relevant, default=np.inf)
        found.append(
            [sum(s > best for s in scores), sum(s == best for s in scores), relevant.count(best), len(relevant)]
        )
    return np.asarray(np.array(found).T)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 999), memory=st.sampled_from([1, 500, 1 << 20]))
def test_equals_counting_one_query_at_a_time(dtype: torch.dtype, seed: int, memory: int) -> None:
    """Rows of +-1 in eight dimensions have lengths and products without rounding, and many ties."""
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.choice([-0.25, 0.25], size=(n, 16)) for n in (9, 40))
    yq, yg = rng.integers(12, size=9), rng.integers(12, size=40)
    hit = first_hits(
        torch.from_numpy(queries),
        torch.from_numpy(gallery),
        same_class(torch.from_numpy(yq), torch.from_numpy(yg)),
        dtype=dtype,
        memory=memory,
    )
    counts = torch.stack([hit.above, hit.tied, hit.hits, hit.relevant]).numpy()
    np.testing.assert_array_equal(counts, literal_counts(queries, gallery, yq, yg))


def test_inner_products_keep_the_length_of_the_gallery() -> None:
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 3.0]])
    relevance = same_class(torch.tensor([0]), torch.tensor([0, 1]))
    assert float(first_hits(query, gallery, relevance).rank()) == 1
    assert float(first_hits(query, gallery, relevance, similarity="inner product").rank()) == 2


@pytest.mark.parametrize(("dtype", "cost"), [(torch.float32, 12), (torch.float64, 20)])
def test_memory_bounds_the_queries_of_a_block(dtype: torch.dtype, cost: int) -> None:
    keys, sizes = torch.arange(400), []

    def relevance(rows: slice) -> torch.Tensor:
        sizes.append(rows.stop - rows.start)
        return same_class(keys, keys)(rows)

    rows = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    hit = first_hits(rows, rows, relevance, dtype=dtype, memory=100_000)
    assert max(sizes) == 100_000 // (cost * 400)
    assert sum(sizes) == 400
    assert hit.rank().tolist() == [1.0] * 400


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=25)
@given(seed=st.integers(0, 999), width=st.sampled_from([1, 9, 300]))
def test_counts_of_a_block_equal_the_literal_ones(last: bool, threads: int, seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    block, truth = rng.integers(-3, 4, size=(5, width)) / 3, rng.random((5, width)) < 0.2
    block[:, 0], truth[:, 0] = -1.5, False  # one that is left out
    expected = []
    for row, flags in zip(block, truth, strict=True):
        edge = np.inf if not flags.any() else row[flags].min() if last else row[flags].max()
        expected.append([(row > edge).sum(), (row == edge).sum(), (row[flags] == edge).sum(), flags.sum()])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        scores = torch.from_numpy(block.astype(np.float32))
        counts = tie_counts_of_block(scores, torch.from_numpy(truth), last)
    finally:
        torch.set_num_threads(before)
    assert counts.T.tolist() == np.array(expected).tolist()
    assert torch.equal(scores, torch.from_numpy(block.astype(np.float32)))
