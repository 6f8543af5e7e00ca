"""One query at a time over every order of the tied items is the oracle."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.evaluation.relevance import same_class
from xfeat.evaluation.results import PairResult
from xfeat.evaluation.retrieval import Measures, retrieve
from xfeat.evaluation.ties import Cut, Denominator

CUTS: list[Cut] = [None, 1, 3, 50]
NAMES = [
    *("mAP@all", "mAP@1", "mAP@3", "mAP@50"),
    *("R@1", "R@5", "R@10"),
    *("P@1", "P@3", "P@50"),
    *("nDCG@all", "nDCG@1", "nDCG@3", "nDCG@50"),
]


def of_ranking(relevant: np.ndarray, denominator: Denominator) -> dict[str, float]:
    places, total = 1 + np.flatnonzero(relevant), int(relevant.sum())
    precisions = np.arange(1, total + 1) / places
    found = {"rank": float(places[0])}
    for cut in CUTS:
        name, width = ("all", len(relevant)) if cut is None else (str(cut), cut)
        hits = places <= width
        most = total if cut is None else hits.sum() if denominator == "hits" else min(cut, total)
        found[f"mAP@{name}"] = float(precisions[hits].sum() / most) if most else 0.0
        ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(width, total) + 1))
        found[f"nDCG@{name}"] = float((1 / np.log2(places[hits] + 1)).sum() / ideal)
        if cut is not None:
            found[f"P@{name}"] = float(hits.sum() / cut)
    return {**found, **{f"R@{cut}": float(places[0] <= cut) for cut in (1, 5, 10)}}


def over_orders(scores: np.ndarray, relevant: np.ndarray, denominator: Denominator) -> dict[str, float]:
    levels = [np.flatnonzero(scores == level) for level in sorted(set(scores.tolist()), reverse=True)]
    orders = product(*(list(permutations(level)) for level in levels))
    values = [of_ranking(relevant[np.concatenate(order)], denominator) for order in orders]
    return {name: float(np.mean([one[name] for one in values])) for name in values[0]}


def check(one: PairResult, queries: list[dict[str, float]], chances: list[dict[str, float]]) -> None:
    for numbers, expected in ((one.metrics, queries), (one.chance, chances)):
        means = {name: np.mean([values[name] for values in expected]) for name in NAMES}
        assert numbers == pytest.approx({**means, "MedR": np.median([v["rank"] for v in expected])}, abs=1e-12)


@pytest.mark.parametrize("exclude_self", [False, True])
@given(
    data=st.data(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    denominator=st.sampled_from(["hits", "min"]),
    memory=st.sampled_from([1, 1 << 20]),
)
def test_equals_the_literal_measures(
    exclude_self: bool, data: st.DataObject, dtype: torch.dtype, denominator: Denominator, memory: int
) -> None:
    """Entries of +-1 at half length, whose scores know no rounding and tie."""
    size = data.draw(st.integers(2, 5), label="items")
    signs = st.lists(st.sampled_from([(1, 1), (1, -1), (-1, 1)]), min_size=size, max_size=size)
    gallery = np.array(data.draw(signs, label="gallery"), np.float64) / 2
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size), label="labels"))
    asked, own = (gallery, labels) if exclude_self else (gallery[::-1][:3].copy(), np.array([0, 1, 9])[:size])
    result = retrieve(
        torch.tensor(asked),
        torch.tensor(gallery),
        same_class(torch.tensor(own), torch.tensor(labels)),
        Measures(CUTS, denominator, "inner product", dtype, memory),
        exclude_self=exclude_self,
    )
    found, chance, without = [], [], []
    for row in range(len(asked)):
        ranked = np.arange(size) != row if exclude_self else np.ones(size, dtype=bool)
        relevant = (labels == own[row])[ranked]
        without.append(not relevant.any())
        if relevant.any():
            found.append(over_orders((gallery @ asked[row])[ranked], relevant, denominator))
            chance.append(over_orders(np.zeros(ranked.sum()), relevant, denominator))
    assert (result.queries, result.gallery) == (len(asked), size - exclude_self)
    assert result.without_relevant == sum(without)
    for name in (*NAMES, "rank"):
        values = result.by_query[name]
        assert values.isnan().tolist() == without
        np.testing.assert_allclose(values[~values.isnan()], [one[name] for one in found], atol=1e-12)
    if found:
        check(result, found, chance)
    else:
        assert all(np.isnan(list(result.metrics.values())))


def test_gains_of_items_that_are_left_out_do_not_count() -> None:
    vectors, labels = torch.eye(3), torch.tensor([0, 0, 1])
    measures = Measures([2], "hits", "cosine", torch.float32, 1 << 20)
    table = torch.tensor([[9.0, 1, 3], [1, 9, 1], [1, 1, 9]])
    result = retrieve(
        vectors,
        vectors,
        same_class(labels, labels),
        measures,
        gains=lambda rows: table[rows].clone(),
        exclude_self=True,
    )
    # Of the first query's two others, worth 1 and 3, either comes first; its own 9 is not to be had.
    best = 3 + 1 / np.log2(3)
    assert result.by_query["nDCG@2"][0] == pytest.approx(((1 + 3 / np.log2(3)) / best + 1) / 2)
    assert result.by_query["nDCG@2"].isnan().tolist() == [False, False, True]
