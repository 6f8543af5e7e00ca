"""Oracles: the double loop over anchors and candidates in float64, and pytorch-metric-learning."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses import mine_pairs, split_pairs

Pairs = tuple[Tensor, Tensor, Tensor]


def literal(similarity: Tensor, positive: Tensor, negative: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    kept_positive, kept_negative = torch.zeros_like(positive), torch.zeros_like(negative)
    for i, row in enumerate(similarity.tolist()):
        own = {j: s for j, s in enumerate(row) if positive[i, j]}
        other = {j: s for j, s in enumerate(row) if negative[i, j]}
        for j, s in own.items():
            kept_positive[i, j] = bool(other) and s < max(other.values()) + epsilon
        for j, s in other.items():
            kept_negative[i, j] = bool(own) and s > min(own.values()) - epsilon
    return kept_positive, kept_negative


def drawn(seed: int, anchors: int, candidates: int) -> Pairs:
    g = torch.Generator().manual_seed(seed)
    similarity = torch.rand(anchors, candidates, generator=g, dtype=torch.float64) * 2 - 1
    kind = torch.randint(3, (anchors, candidates), generator=g)  # the third is in neither
    return similarity, kind == 0, kind == 1


PAIRS = st.builds(drawn, st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 9))
LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=9)


@given(pairs=PAIRS, epsilon=st.floats(0, 0.5))
def test_equals_the_double_loop(pairs: Pairs, epsilon: float) -> None:
    for found, expected in zip(mine_pairs(*pairs, epsilon), literal(*pairs, epsilon), strict=True):
        assert found.dtype == torch.bool
        assert torch.equal(found, expected)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 10), classes=st.integers(1, 5))
def test_equals_pytorch_metric_learning(seed: int, rows: int, classes: int) -> None:
    """Batches of one class, and classes of one row, are among them: anchors that lack one kind of pair."""
    g = torch.Generator().manual_seed(seed)
    x = normalize(torch.randn(rows, 3, generator=g, dtype=torch.float64), dim=1)
    labels = torch.randint(classes, (rows,), generator=g)
    pairs = split_pairs(labels, torch.zeros_like(labels))
    found = mine_pairs(x @ x.T, pairs.within_positive, pairs.within_negative, 0.15)
    a1, p, a2, n = MultiSimilarityMiner(epsilon=0.15)(x, labels)
    for mask, rows_kept, columns_kept in zip(found, (a1, a2), (p, n), strict=True):
        expected = torch.zeros_like(mask)
        expected[rows_kept, columns_kept] = True
        assert torch.equal(mask, expected)


def test_what_is_kept_of_one_anchor() -> None:
    similarity = torch.tensor([[0.9, 0.3, 0.85, 0.1, 0.25, 1.0]])
    positive = torch.tensor([[True, True, False, False, False, False]])
    negative = torch.tensor([[False, False, True, True, True, False]])
    kept = mine_pairs(similarity, positive, negative, 0.1)
    # Against the hardest negative, 0.85, both positives; against the hardest positive, 0.3, those above 0.2.
    assert kept[0].tolist() == [[True, True, False, False, False, False]]
    assert kept[1].tolist() == [[False, False, True, False, True, False]]


@given(pairs=PAIRS)
def test_an_anchor_that_lacks_one_kind_keeps_none_of_the_other(pairs: Pairs) -> None:
    similarity, positive, negative = pairs
    nothing = torch.zeros_like(positive)
    assert not any(kept.any() for kept in mine_pairs(similarity, positive, nothing))
    assert not any(kept.any() for kept in mine_pairs(similarity, nothing, negative))


@given(pairs=PAIRS, smaller=st.floats(0, 0.5), larger=st.floats(0, 0.5))
def test_a_larger_margin_keeps_more_and_an_unbounded_one_all(pairs: Pairs, smaller: float, larger: float) -> None:
    similarity, positive, negative = pairs
    smaller, larger = sorted((smaller, larger))
    few, more = mine_pairs(*pairs, smaller), mine_pairs(*pairs, larger)
    assert all((b | ~a).all() for a, b in zip(few, more, strict=True))
    has_both = (positive.any(1) & negative.any(1))[:, None]
    everything = mine_pairs(similarity, positive, negative, math.inf)
    assert torch.equal(everything[0], positive & has_both)
    assert torch.equal(everything[1], negative & has_both)


@given(pairs=PAIRS)
def test_pairs_in_the_right_order_are_left_alone(pairs: Pairs) -> None:
    _, positive, negative = pairs
    apart = positive.double() * 1.0 - negative.double()
    assert not any(kept.any() for kept in mine_pairs(apart, positive, negative))


@given(pairs=PAIRS, value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_pairs_that_are_no_candidates_have_no_influence(pairs: Pairs, value: float) -> None:
    similarity, positive, negative = pairs
    expected = mine_pairs(*pairs)
    found = mine_pairs(similarity.where(positive | negative, value), positive, negative)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@given(rows=LABELS)
def test_split_equals_the_double_loop(rows: list[tuple[int, int]]) -> None:
    labels, modality = (
        (torch.tensor(part, dtype=torch.long) for part in zip(*rows, strict=True))
        if rows
        else (
            torch.zeros(0, dtype=torch.long),
            torch.zeros(0, dtype=torch.long),
        )
    )
    found = split_pairs(labels, modality)
    for i, (label, m) in enumerate(rows):
        for j, (other_label, other_m) in enumerate(rows):
            expected = (
                m != other_m and label == other_label,
                m != other_m and label != other_label,
                m == other_m and label == other_label and i != j,
                m == other_m and label != other_label,
            )
            assert tuple(bool(mask[i, j]) for mask in found) == expected


@given(rows=LABELS)
def test_every_pair_of_two_rows_is_in_one_mask(rows: list[tuple[int, int]]) -> None:
    table = torch.tensor(rows, dtype=torch.long).reshape(-1, 2)
    masks = split_pairs(table[:, 0], table[:, 1])
    assert torch.equal(sum(mask.long() for mask in masks), 1 - torch.eye(len(rows), dtype=torch.long))
    assert all(torch.equal(mask, mask.T) for mask in masks)


@pytest.mark.parametrize("epsilon", [-0.1, math.nan])
def test_epsilon_must_be_in_range(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon must be >= 0"):
        mine_pairs(torch.eye(2), torch.eye(2) > 0, torch.eye(2) < 1, epsilon)


@pytest.mark.parametrize(
    "shapes", [((2,), (2,), (2,)), ((2, 3), (2, 3), (3, 2)), ((2, 3), (3,), (2, 3)), ((2, 0),) * 3]
)
def test_shapes_must_fit_together(shapes: tuple[tuple[int, ...], ...]) -> None:
    similarity, positive, negative = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="must have one shape"):
        mine_pairs(similarity, positive > 0, negative > 0)


@pytest.mark.parametrize(("labels", "modality"), [((2,), (3,)), ((2, 1), (2, 1))])
def test_labels_and_modality_must_fit_together(labels: tuple[int, ...], modality: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        split_pairs(torch.zeros(labels, dtype=torch.long), torch.zeros(modality, dtype=torch.long))
