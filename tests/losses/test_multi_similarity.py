"""Oracles: the double loop over anchors and candidates in float64, and pytorch-metric-learning."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses import mine_pairs, multi_similarity, split_pairs

Pairs = tuple[Tensor, Tensor, Tensor]


def literal(
    similarity: Tensor, positive: Tensor, negative: Tensor, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5
) -> float:
    total = 0.0
    for i, row in enumerate(similarity.tolist()):
        own = sum(math.exp(-alpha * (s - base)) for j, s in enumerate(row) if positive[i, j])
        other = sum(math.exp(beta * (s - base)) for j, s in enumerate(row) if negative[i, j])
        total += math.log1p(own) / alpha + math.log1p(other) / beta
    return total / len(similarity)


def drawn(seed: int, anchors: int, candidates: int) -> Pairs:
    g = torch.Generator().manual_seed(seed)
    similarity = torch.rand(anchors, candidates, generator=g, dtype=torch.float64) * 2 - 1
    kind = torch.randint(3, (anchors, candidates), generator=g)  # the third is in neither
    return similarity, kind == 0, kind == 1


def told_by_theirs(positive: Tensor, negative: Tensor) -> bool:
    """Whether pytorch-metric-learning tells the loss: a batch with one pair of each kind, or none, is 0 to it."""
    return bool(positive.sum() > 1 or negative.sum() > 1)


PAIRS = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 9))


@given(pairs=PAIRS, alpha=st.floats(0.1, 20), beta=st.floats(0.1, 100), base=st.floats(-1, 1))
def test_equals_the_double_loop(pairs: Pairs, alpha: float, beta: float, base: float) -> None:
    similarity, positive, negative = pairs
    expected = literal(*pairs, alpha, beta, base)
    found = multi_similarity(*pairs, alpha=alpha, beta=beta, base=base)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    single = multi_similarity(similarity.float(), positive, negative, alpha=alpha, beta=beta, base=base)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("mined", [False, True])
@given(seed=st.integers(0, 10**6), rows=st.integers(4, 12), classes=st.integers(1, 5))
def test_equals_pytorch_metric_learning(mined: bool, seed: int, rows: int, classes: int) -> None:
    """Its mean is over all rows too, those without pairs included."""
    g = torch.Generator().manual_seed(seed)
    x = normalize(torch.randn(rows, 3, generator=g, dtype=torch.float64), dim=1).requires_grad_()
    labels = torch.randint(classes, (rows,), generator=g)
    pairs = split_pairs(labels, torch.zeros_like(labels))
    kept = pairs.within_positive, pairs.within_negative
    theirs = MultiSimilarityMiner(epsilon=0.1)(x, labels) if mined else None
    if mined:
        kept = mine_pairs(x @ x.T, *kept, 0.1)
    assume(told_by_theirs(*kept))
    expected = MultiSimilarityLoss(alpha=2, beta=50, base=0.5)(x, labels, theirs)
    found = multi_similarity(x @ x.T, *kept)
    torch.testing.assert_close(found, expected)
    # Theirs normalises the rows; the part of our gradient along a row has no such counterpart.
    (gradient,) = torch.autograd.grad(found, x)
    along = (gradient * x).sum(1, keepdim=True) * x
    torch.testing.assert_close((gradient - along).detach(), torch.autograd.grad(expected, x)[0])


@given(seed=st.integers(0, 10**6), rows=st.integers(4, 10), modalities=st.integers(1, 3))
def test_cross_modal_pairs_equal_pytorch_metric_learning(seed: int, rows: int, modalities: int) -> None:
    """Pairs given to it by their places."""
    g = torch.Generator().manual_seed(seed)
    x = normalize(torch.randn(rows, 3, generator=g, dtype=torch.float64), dim=1)
    labels, modality = (torch.randint(n, (rows,), generator=g) for n in (3, modalities))
    pairs = split_pairs(labels, modality)
    assume(told_by_theirs(pairs.cross_positive, pairs.cross_negative))
    places = (*pairs.cross_positive.nonzero(as_tuple=True), *pairs.cross_negative.nonzero(as_tuple=True))
    found = multi_similarity(x @ x.T, pairs.cross_positive, pairs.cross_negative)
    torch.testing.assert_close(found, MultiSimilarityLoss(2, 50, 0.5)(x, indices_tuple=places))


def test_gradients_match_finite_differences() -> None:
    similarity, positive, negative = drawn(3, 4, 6)
    assert torch.autograd.gradcheck(
        lambda s: multi_similarity(s, positive, negative, beta=5.0), similarity.requires_grad_()
    )


@given(pairs=PAIRS, seed=st.integers(0, 10**6))
def test_anchors_and_candidates_have_no_order(pairs: Pairs, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(n, generator=g) for n in pairs[0].shape)
    torch.testing.assert_close(multi_similarity(*(x[rows][:, columns] for x in pairs)), multi_similarity(*pairs))


@given(pairs=PAIRS)
def test_positive_pairs_pull_and_negative_pairs_push(pairs: Pairs) -> None:
    similarity, positive, negative = pairs
    loss = multi_similarity(similarity.requires_grad_(), positive, negative)
    assert loss >= 0
    (gradient,) = torch.autograd.grad(loss, similarity)
    assert (gradient[positive] < 0).all()
    assert (gradient[negative] > 0).all()
    assert not gradient[~(positive | negative)].any()


@given(pairs=PAIRS)
def test_an_anchor_without_pairs_adds_nothing_and_counts(pairs: Pairs) -> None:
    similarity, positive, negative = pairs
    nothing = torch.zeros_like(positive)
    twice = multi_similarity(
        torch.cat([similarity, similarity]), torch.cat([positive, nothing]), torch.cat([negative, nothing])
    )
    torch.testing.assert_close(twice, multi_similarity(*pairs) / 2)


@pytest.mark.parametrize("value", [1e30, math.nan, math.inf, -math.inf])
@given(pairs=PAIRS)
def test_pairs_in_neither_mask_have_no_influence(value: float, pairs: Pairs) -> None:
    similarity, positive, negative = pairs
    expected = multi_similarity(*pairs)
    changed = similarity.where(positive | negative, value).requires_grad_()
    found = multi_similarity(changed, positive, negative)
    torch.testing.assert_close(found, expected)
    assert torch.isfinite(torch.autograd.grad(found, changed)[0]).all()


def test_its_value_without_pairs_and_at_a_perfect_match() -> None:
    none = torch.zeros(3, 3) > 0
    similarity = torch.eye(3, requires_grad=True)
    empty = multi_similarity(similarity, none, none)
    assert empty.item() == 0
    assert not torch.autograd.grad(empty, similarity)[0].any()
    own = torch.eye(3) > 0
    perfect = math.log1p(math.exp(-1)) / 2 + math.log1p(2 * math.exp(-25)) / 50
    assert multi_similarity(similarity, own, ~own).item() == pytest.approx(perfect, rel=1e-6)
    even = torch.full((3, 3), 0.5)
    assert multi_similarity(even, own, ~own).item() == pytest.approx(math.log(2) / 2 + math.log(3) / 50, rel=1e-6)


def test_gradient_is_finite_at_extremes() -> None:
    similarity = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    positive = torch.tensor([[True, True, False, False], [False, False, False, False]])
    loss = multi_similarity(similarity, positive, ~positive, alpha=1e4, beta=1e4)
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, similarity)[0]).all()


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 50.0), (2.0, -1.0), (math.nan, 50.0), (2.0, math.nan)])
def test_settings_must_be_in_range(alpha: float, beta: float) -> None:
    with pytest.raises(ValueError, match="alpha and beta must be > 0"):
        multi_similarity(torch.eye(2), torch.eye(2) > 0, torch.eye(2) < 1, alpha=alpha, beta=beta)


@pytest.mark.parametrize(
    "shapes", [((2,), (2,), (2,)), ((2, 3), (2, 3), (3, 2)), ((2, 3), (3,), (2, 3)), ((0, 3),) * 3]
)
def test_shapes_must_fit_together(shapes: tuple[tuple[int, ...], ...]) -> None:
    similarity, positive, negative = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="must have one shape"):
        multi_similarity(similarity, positive > 0, negative > 0)
