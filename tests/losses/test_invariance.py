"""Oracle: the double loop over pairs of interventions in float64."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses import invariance


def literal(embeddings: Tensor) -> float:
    pairs = list(itertools.combinations(range(len(embeddings)), 2))
    rows = embeddings.shape[1]
    apart = [1 - float(embeddings[k, i].double() @ embeddings[m, i].double()) for k, m in pairs for i in range(rows)]
    return sum(apart) / len(apart) if apart else 0.0


def drawn(seed: int, interventions: int, rows: int, dim: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(interventions, rows, dim, generator=g, dtype=torch.float64), dim=2)


EMBEDDINGS = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 6), st.integers(1, 5))


@given(embeddings=EMBEDDINGS)
def test_equals_the_double_loop(embeddings: Tensor) -> None:
    expected = literal(embeddings)
    found = invariance(embeddings)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    interventions = len(embeddings)
    assert 0 <= found.item() <= interventions / max(interventions - 1, 1) + 1e-12
    single = invariance(embeddings.float())
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(embeddings=EMBEDDINGS)
def test_the_sum_of_all_tells_it_too(embeddings: Tensor) -> None:
    interventions, rows, _ = embeddings.shape
    if interventions > 1 and rows:
        squared = embeddings.sum(dim=0).square().sum(dim=1).mean()
        expected = (interventions**2 - squared) / (interventions * (interventions - 1))
        torch.testing.assert_close(invariance(embeddings), expected)


def test_gradients_match_finite_differences() -> None:
    assert torch.autograd.gradcheck(invariance, drawn(1, 3, 4, 3).requires_grad_())


@given(seed=st.integers(0, 10**6), interventions=st.integers(2, 4), rows=st.integers(1, 5))
def test_its_gradient_is_that_of_the_cosines(seed: int, interventions: int, rows: int) -> None:
    """What moves a row along itself is not seen through normalisation."""
    g = torch.Generator().manual_seed(seed)
    raw = torch.randn(interventions, rows, 3, generator=g, dtype=torch.float64, requires_grad=True)
    unit = normalize(raw, dim=2)
    cosines = [(unit[k] * unit[m]).sum(dim=1) for k, m in itertools.combinations(range(interventions), 2)]
    (expected,) = torch.autograd.grad(1 - torch.stack(cosines).mean(), raw, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(invariance(unit), raw)[0], expected)


@given(embeddings=EMBEDDINGS, seed=st.integers(0, 10**6))
def test_interventions_and_rows_have_no_order_and_a_turn_does_not_matter(embeddings: Tensor, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    k, rows = (torch.randperm(n, generator=g) for n in embeddings.shape[:2])
    width = embeddings.shape[2]
    turn, _ = torch.linalg.qr(torch.randn(width, width, generator=g, dtype=torch.float64))
    torch.testing.assert_close(invariance(embeddings[k][:, rows] @ turn), invariance(embeddings))


@given(embeddings=EMBEDDINGS, times=st.integers(1, 5))
def test_it_is_0_where_interventions_agree(embeddings: Tensor, times: int) -> None:
    agreed = embeddings[:1].float().expand(times, -1, -1)
    assert invariance(agreed).item() == pytest.approx(0, abs=1e-12)


def test_its_value_where_they_are_opposed() -> None:
    axes = torch.eye(4)
    assert invariance(torch.stack([axes, -axes])).item() == pytest.approx(2)
    assert invariance(torch.stack([axes, axes.roll(1, 0)])).item() == pytest.approx(1)


def test_one_intervention_gives_0_and_no_gradient() -> None:
    one = drawn(1, 1, 3, 4).requires_grad_()
    loss = invariance(one)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, one)[0].any()


@pytest.mark.parametrize("length", [0.0, 1e-20, 1e10])
def test_gradient_is_finite_at_extremes(length: float) -> None:
    rows = (length * drawn(2, 2, 3, 4)).float().requires_grad_()
    assert torch.isfinite(torch.autograd.grad(invariance(rows), rows)[0]).all()


@pytest.mark.parametrize("shape", [(3, 4), (0, 3, 4), (2, 2, 3, 4)])
def test_shape_must_be_that_of_rows_under_interventions(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(K, N, d\)"):
        invariance(torch.zeros(shape))
