"""The definition, threshold by threshold, is the oracle."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from xfeat.evaluation.curve import STANDARD_LEVELS, precision_recall, precision_recall_of_block
from xfeat.evaluation.relevance import same_class


def literal(scores: np.ndarray, relevant: np.ndarray, levels: int) -> list[float]:
    """The highest precision over all thresholds at which recall is at least each level."""
    points = []
    for threshold in set(scores.tolist()):
        taken = scores >= threshold
        hits = int(relevant[taken].sum())
        points.append((Fraction(hits, int(relevant.sum())), Fraction(hits, int(taken.sum()))))
    wanted = [Fraction(level, levels - 1) for level in range(levels)]
    return [float(max(precision for recall, precision in points if recall >= least)) for least in wanted]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, STANDARD_LEVELS, 101])
@given(seed=st.integers(0, 9999), share=st.sampled_from([0.05, 0.3, 1.0]))
def test_equals_the_definition(dtype: torch.dtype, levels: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-4, 5, size=(4, 23)) / rng.choice([4, 1000])
    relevant = rng.random((4, 23)) < share
    relevant[1] = False
    block, truth = torch.tensor(scores, dtype=dtype), torch.tensor(relevant)
    found = precision_recall_of_block(block, truth, levels)
    assert found[1].isnan().all()
    for query in (0, 2, 3):
        if relevant[query].any():
            np.testing.assert_allclose(found[query], literal(scores[query], relevant[query], levels), atol=1e-12)


@given(seed=st.integers(0, 9999))
def test_equals_the_thresholds_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, relevant = rng.integers(12, size=60) / 16, rng.random(60) < 0.2
    relevant[0] = True
    precision, recall, _ = precision_recall_curve(relevant, scores)
    expected = [precision[recall >= level - 1e-12].max() for level in np.linspace(0, 1, 101)[1:]]
    found = precision_recall_of_block(torch.tensor(scores)[None], torch.tensor(relevant)[None], 101)
    np.testing.assert_allclose(found[0, 1:], expected, atol=1e-12)


@pytest.mark.parametrize("similarity", ["cosine", "inner product"])
@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_of_embeddings_with_items_left_out(similarity: str, memory: int) -> None:
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(9, 4)), np.repeat(rng.normal(size=(20, 4)), 2, axis=0)
    labels, others = rng.integers(4, size=9), rng.integers(4, size=40)
    out = rng.random((9, 40)) < 0.1
    found = precision_recall(
        torch.tensor(queries),
        torch.tensor(gallery),
        same_class(torch.tensor(labels), torch.tensor(others)),
        similarity=similarity,
        levels=STANDARD_LEVELS,
        excluded=lambda rows: torch.tensor(out[rows]),
        dtype=torch.float64,
        memory=memory,
    )
    if similarity == "cosine":
        queries, gallery = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery))
    for query in range(9):
        scores = (gallery @ queries[query]).round(12)
        relevant = others == labels[query]
        expected = literal(scores[~out[query]], relevant[~out[query]], STANDARD_LEVELS)
        np.testing.assert_allclose(found[query], expected, atol=1e-12)


def test_collapsed_embeddings_are_at_the_share_of_relevant_items() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
    rows = torch.full((8, 5), 0.7)
    found = precision_recall(rows, rows, same_class(labels, labels), levels=11)
    np.testing.assert_allclose(found, (labels[:, None] == labels).double().mean(1, keepdim=True).expand(8, 11))


def test_a_perfect_ranking_is_one_everywhere_and_curves_fall() -> None:
    labels = torch.arange(12) % 3
    rows = torch.eye(3)[labels]
    relevance = same_class(labels, labels)
    assert (precision_recall(rows, rows, relevance) == 1).all()
    noise = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    assert (precision_recall(rows + noise, rows, relevance).diff() <= 0).all()
    assert precision_recall(rows, rows, same_class(labels, labels + 5)).isnan().all()
    with pytest.raises(ValueError, match="levels must be 2 or more, got 1"):
        precision_recall(rows, rows, relevance, levels=1)
