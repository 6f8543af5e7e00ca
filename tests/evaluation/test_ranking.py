"""A plain argsort is the oracle without ties, every order of the tied items with them."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from xfeat.evaluation.ranking import average_precision
from xfeat.evaluation.relevance import same_class, shared_class
from xfeat.evaluation.ties import Cut, Denominator, chance_average_precision

CUTS: list[Cut] = [None, 1, 3, 5, 1000]
DTYPES = [torch.float32, torch.float64]


def literal(ranked: np.ndarray, cut: Cut, denominator: Denominator) -> float:
    within = ranked[:cut]
    total = sum(within[: i + 1].mean() for i in range(len(within)) if within[i])
    if cut is None:
        return float(total / ranked.sum())
    most = within.sum() if denominator == "hits" else min(cut, ranked.sum())
    return float(total / most) if most else 0.0


def by_argsort(scores: np.ndarray, relevant: np.ndarray, cut: Cut, denominator: Denominator) -> list[float]:
    return [literal(r[np.argsort(-s)], cut, denominator) for s, r in zip(scores, relevant, strict=True)]


def by_enumeration(scores: np.ndarray, relevant: np.ndarray, cut: Cut, denominator: Denominator) -> float:
    levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    return float(np.mean([literal(relevant[np.concatenate(order)], cut, denominator) for order in orders]))


def expected_hits(scores: np.ndarray, relevant: np.ndarray, cut: Cut) -> float:
    """Relevant items within the cut, mean over all orders of tied items."""
    levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    return float(np.mean([relevant[np.concatenate(order)][:cut].sum() for order in orders]))


def on_circle(angles: torch.Tensor) -> torch.Tensor:
    return torch.stack([angles.cos(), angles.sin()], 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("denominator", ["hits", "min"])
@given(seed=st.integers(0, 9999), classes=st.integers(1, 6), memory=st.sampled_from([1, 10_000, 1 << 20]))
def test_equals_argsort_without_ties(
    dtype: torch.dtype, denominator: Denominator, seed: int, classes: int, memory: int
) -> None:
    rng = np.random.default_rng(seed)
    # Angles at least 0.01 apart on half a circle: every cosine differs by far more than rounding.
    gallery = torch.from_numpy((rng.permutation(40) + rng.uniform(0.25, 0.5, 40)) * 0.07)
    queries = torch.from_numpy(rng.uniform(0.0, 0.02, 12))
    y_query, y_gallery = rng.integers(classes, size=12), rng.integers(classes, size=40)
    assume(np.isin(y_query, y_gallery).all())
    scale = torch.from_numpy(rng.uniform(0.1, 9.0, (40, 1)))
    result = average_precision(
        on_circle(queries),
        on_circle(gallery) * scale,
        same_class(torch.from_numpy(y_query), torch.from_numpy(y_gallery)),
        CUTS,
        denominator,
        dtype=dtype,
        memory=memory,
    )
    scores = np.cos(queries.numpy()[:, None] - gallery.numpy())
    relevant = y_query[:, None] == y_gallery
    assert result.relevant.tolist() == relevant.sum(1).tolist()
    for column, cut in enumerate(CUTS):
        expected = by_argsort(scores, relevant, cut, denominator)
        np.testing.assert_allclose(result.values[:, column], expected, rtol=1e-12)
        ranked = np.take_along_axis(relevant, np.argsort(-scores, axis=1), 1)
        assert result.hits[:, column].tolist() == ranked[:, :cut].sum(1).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("denominator", ["hits", "min"])
@given(data=st.data())
def test_equals_all_orders_with_ties(dtype: torch.dtype, denominator: Denominator, data: st.DataObject) -> None:
    levels = data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=7), label="levels")
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(levels), max_size=len(levels)), label="labels")
    assume(1 in labels)
    gallery = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]])[levels]
    queries = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    result = average_precision(
        queries, gallery, same_class(torch.tensor([1, 1]), torch.tensor(labels)), CUTS, denominator, dtype=dtype
    )
    scores = np.array([1.0, 0.6, 0.0, -1.0])[levels]
    expected = [by_enumeration(scores, np.array(labels) == 1, cut, denominator) for cut in CUTS]
    np.testing.assert_allclose(result.values, [expected, expected], atol=1e-12)
    hits = [expected_hits(scores, np.array(labels) == 1, cut) for cut in CUTS]
    np.testing.assert_allclose(result.hits, [hits, hits], atol=1e-12)


@given(seed=st.integers(0, 9999))
def test_order_of_the_gallery_and_scale_of_rows_change_nothing(seed: int) -> None:
    """With many ties: entries of -1, 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (torch.randint(-1, 2, (n, 3), generator=generator).float() for n in (20, 50))
    y_query, y_gallery = (torch.randint(4, (n,), generator=generator) for n in (20, 50))
    order = torch.randperm(50, generator=generator)
    scale = 2.0 ** torch.randint(-60, 60, (50, 1), generator=generator)
    plain = average_precision(queries, gallery, same_class(y_query, y_gallery), CUTS)
    moved = average_precision(queries * 3.0, (gallery * scale)[order], same_class(y_query, y_gallery[order]), CUTS)
    torch.testing.assert_close(moved.values, plain.values, rtol=0, atol=1e-12, equal_nan=True)
    known = plain.values[plain.relevant > 0]
    assert bool(((known >= 0) & (known <= 1 + 1e-12)).all())


@given(seed=st.integers(0, 9999), classes=st.integers(2, 6))
def test_a_perfect_ranking_has_average_precision_1(seed: int, classes: int) -> None:
    labels = torch.randint(classes, (60,), generator=torch.Generator().manual_seed(seed))
    prototypes = torch.eye(classes)[labels]
    result = average_precision(prototypes, prototypes, same_class(labels, labels), CUTS, "min")
    torch.testing.assert_close(result.values, torch.ones_like(result.values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("denominator", ["hits", "min"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [1, 64, 513])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_collapsed_embeddings_give_chance(
    value: float, dims: int, dtype: torch.dtype, denominator: Denominator
) -> None:
    labels = torch.arange(53) % 7
    same = torch.full((53, dims), value)
    result = average_precision(same, same, same_class(labels, labels), CUTS, denominator, dtype=dtype)
    for column, cut in enumerate(CUTS):
        chance = chance_average_precision(result.relevant, 53, cut, denominator)
        torch.testing.assert_close(result.values[:, column], chance, rtol=0, atol=1e-12)


def test_random_rankings_average_to_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randn(n, 32, generator=generator) for n in (4000, 60))
    labels = torch.arange(60) % 5
    result = average_precision(queries, gallery, same_class(torch.arange(4000) % 5, labels), (None, 7), "hits")
    chance = [float(chance_average_precision(torch.tensor([12]), 60, cut, "hits")) for cut in (None, 7)]
    np.testing.assert_allclose(result.values.mean(0), chance, atol=0.02)


def test_queries_without_relevant_items_are_nan() -> None:
    result = average_precision(torch.eye(3), torch.eye(3), same_class(torch.tensor([0, 9, 1]), torch.arange(3)), CUTS)
    assert result.relevant.tolist() == [1, 0, 1]
    assert result.values.isnan().any(1).tolist() == [False, True, False]
    assert result.values.isnan().all(1).tolist() == [False, True, False]
    assert result.hits[1].tolist() == [0.0] * len(CUTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_excluding_self_equals_leaving_the_item_out(dtype: torch.dtype, memory: int) -> None:
    generator = torch.Generator().manual_seed(1)
    rows, labels = torch.randn(30, 4, generator=generator), torch.randint(3, (30,), generator=generator)
    rows[15:] = -rows[:15]  # cosines that round to a little below -1 still rank before the query itself
    rows[5] = rows[6]
    result = average_precision(
        rows, rows, same_class(labels, labels), CUTS, exclude_self=True, dtype=dtype, memory=memory
    )
    for i in range(30):
        others = [j for j in range(30) if j != i]
        alone = average_precision(rows[[i]], rows[others], same_class(labels[[i]], labels[others]), CUTS, dtype=dtype)
        torch.testing.assert_close(result.values[[i]], alone.values, rtol=0, atol=1e-12)


def test_blocks_of_any_size_give_the_same_values_with_multi_hot_labels() -> None:
    generator = torch.Generator().manual_seed(2)
    queries, gallery = (torch.randn(n, 3, generator=generator, dtype=torch.float64).round() for n in (33, 70))
    y_query, y_gallery = ((torch.rand(n, 6, generator=generator) < 0.3).byte() for n in (33, 70))
    relevance = shared_class(y_query, y_gallery)
    whole = average_precision(queries, gallery, relevance, CUTS)
    parts = average_precision(queries, gallery, relevance, CUTS, memory=70 * 10 * 7)
    torch.testing.assert_close(parts.values, whole.values, rtol=0, atol=1e-12, equal_nan=True)


def test_half_precision_embeddings_are_accepted() -> None:
    rows = torch.randn(20, 8, generator=torch.Generator().manual_seed(3)).half()
    labels = torch.arange(20) % 4
    half = average_precision(rows, rows, same_class(labels, labels), CUTS)
    full = average_precision(rows.float(), rows.float(), same_class(labels, labels), CUTS)
    assert torch.equal(half.values, full.values)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", DTYPES)
def test_gpu_equals_cpu(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    # Axis-aligned rows: the same scores, to the last bit, on every device.
    queries, gallery = (torch.eye(6)[torch.randint(6, (n,), generator=generator)] for n in (50, 300))
    y_query, y_gallery = (torch.randint(4, (n,), generator=generator) for n in (50, 300))
    cpu = average_precision(queries, gallery, same_class(y_query, y_gallery), CUTS, dtype=dtype)
    gpu = average_precision(
        queries.cuda(), gallery.cuda(), same_class(y_query.cuda(), y_gallery.cuda()), CUTS, dtype=dtype
    )
    torch.testing.assert_close(gpu.values.cpu(), cpu.values, rtol=0, atol=1e-12)


def by_one_argsort(queries: np.ndarray, gallery: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """The ranks of the relevant items alone decide; (cuts, queries) and both denominators."""
    found = []
    for query, flags in zip(queries, relevant, strict=True):
        ranks = 1 + np.flatnonzero(flags[np.argsort(-(gallery @ query), kind="stable")])
        precision = np.arange(1, len(ranks) + 1) / ranks
        row = [precision.sum() / len(ranks)] * 2
        for cut in (50, 1000):
            total, hits = precision[ranks <= cut].sum(), (ranks <= cut).sum()
            row += [total / max(hits, 1), total / min(cut, len(ranks))]
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_galleries_of_thousands_equal_the_literal_formula(dtype: torch.dtype) -> None:
    """Scores that differ by more than float32's rounding: whole angles on a circle, each of its own item."""
    rng = np.random.default_rng(0)
    size = 3000
    angles = torch.from_numpy(rng.permutation(size) * (np.pi / (size + 100)) + 0.02)
    gallery = on_circle(angles)
    queries = on_circle(torch.from_numpy(rng.uniform(-0.004, 0.004, 40)))
    # Near 0 and pi cosines are flat: a third dimension moves them apart.
    gallery = torch.cat([gallery, (angles[:, None] - 1.5) * 2], 1)
    queries = torch.cat([queries, torch.full((40, 1), 0.7, dtype=torch.float64)], 1)
    labels, own = rng.integers(7, size=size), rng.integers(7, size=40)
    units = [(rows / rows.norm(dim=1, keepdim=True)).numpy() for rows in (queries, gallery)]
    expected = by_one_argsort(units[0], units[1], own[:, None] == labels)
    denominators: list[Denominator] = ["hits", "min"]
    for at, denominator in enumerate(denominators):
        result = average_precision(
            queries,
            gallery,
            same_class(torch.from_numpy(own), torch.from_numpy(labels)),
            (None, 50, 1000),
            denominator,
            dtype=dtype,
        )
        np.testing.assert_allclose(result.values.mean(0), expected[:, at::2].mean(0), atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory", [1, 300_000, 256 << 20])
def test_threads_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, memory: int) -> None:
    """Rows of +-1/4 in 16 dimensions: products without rounding, many ties, and equal rows."""
    generator = torch.Generator().manual_seed(5)
    queries, gallery = ((torch.randint(2, (n, 16), generator=generator) - 0.5) / 2 for n in (37, 2001))
    gallery[:600] = gallery[600:1200]
    y_query, y_gallery = (torch.randint(9, (n,), generator=generator) for n in (37, 2001))

    def values(threads: int, cells: int) -> torch.Tensor:
        monkeypatch.setattr("xfeat.evaluation.parts.CELLS", cells)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found = average_precision(
                queries, gallery, same_class(y_query, y_gallery), CUTS, dtype=dtype, memory=memory
            )
        finally:
            torch.set_num_threads(before)
        return torch.stack([found.values, found.hits])

    plain = values(1, 1 << 18)
    for threads, cells in ((2, 1 << 18), (2, 7001), (1, 1)):
        assert torch.equal(values(threads, cells), plain)
