"""Oracles: the double loop over dimensions in float64, and numpy's correlation coefficients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.losses import cross_correlation

Views = tuple[Tensor, Tensor]


def literal(a: Tensor, b: Tensor, off_diagonal: float) -> float:
    def columns(x: Tensor) -> list[list[float]]:
        standardised = []
        for column in x.T.double().tolist():
            centred = [value - sum(column) / len(column) for value in column]
            spread = math.sqrt(sum(value * value for value in centred) / len(column))
            constant = max(column) - min(column) < 1e-9
            standardised.append([0.0 if constant else value / spread for value in centred])
        return standardised

    total = 0.0
    for i, left in enumerate(columns(a)):
        for j, right in enumerate(columns(b)):
            correlation = sum(x * y for x, y in zip(left, right, strict=True)) / len(a)
            total += (1 - correlation) ** 2 if i == j else off_diagonal * correlation**2
    return total


def drawn(seed: int, rows: int, dim: int) -> Views:
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(rows, dim, generator=g, dtype=torch.float64) for _ in range(2))
    return a, b


VIEWS = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 6))
# Correlations of two rows are signs, and jump.
SMOOTH = st.builds(drawn, st.integers(0, 10**6), st.integers(4, 9), st.integers(1, 6))


@given(views=VIEWS, off_diagonal=st.floats(0, 1))
def test_equals_the_double_loop(views: Views, off_diagonal: float) -> None:
    a, b = views
    expected = literal(a, b, off_diagonal)
    found = cross_correlation(a, b, off_diagonal=off_diagonal)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    dim = a.shape[1]
    assert 0 <= found.item() <= 4 * dim + off_diagonal * dim * (dim - 1) + 1e-9
    single = cross_correlation(a.float(), b.float(), off_diagonal=off_diagonal)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


@given(views=SMOOTH)
def test_equals_the_coefficients_of_numpy(views: Views) -> None:
    a, b = views
    dim = a.shape[1]
    c = np.corrcoef(a.numpy(), b.numpy(), rowvar=False)[:dim, dim:]
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.005 * ((c - np.diag(np.diag(c))) ** 2).sum()
    assert cross_correlation(a, b).item() == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


def test_gradients_match_finite_differences() -> None:
    a, b = drawn(2, 6, 3)
    assert torch.autograd.gradcheck(
        lambda x, y: cross_correlation(x, y, off_diagonal=0.3), (a.requires_grad_(), b.requires_grad_())
    )


@given(views=SMOOTH, seed=st.integers(0, 10**6))
def test_rows_and_dimensions_have_no_order_and_views_are_alike(views: Views, seed: int) -> None:
    a, b = views
    found = cross_correlation(a, b)
    g = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(n, generator=g) for n in a.shape)
    torch.testing.assert_close(cross_correlation(a[rows][:, columns], b[rows][:, columns]), found)
    torch.testing.assert_close(cross_correlation(b, a), found)


@given(views=SMOOTH, factor=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_scale_and_shift_of_a_dimension_do_not_matter(views: Views, factor: float, shift: float) -> None:
    a, b = views
    factors = torch.linspace(1, factor, a.shape[1], dtype=torch.float64)
    torch.testing.assert_close(cross_correlation(a * factors + shift * factors, b / factors), cross_correlation(a, b))


@given(views=SMOOTH)
def test_opposed_views_are_at_4_in_every_dimension(views: Views) -> None:
    a, _ = views
    assert cross_correlation(a, -a, off_diagonal=0.0).item() == pytest.approx(4 * a.shape[1])


def test_its_value_where_dimensions_agree_and_are_independent() -> None:
    signs = torch.tensor([[x, y, x * y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    assert cross_correlation(signs, 3 * signs + 1, off_diagonal=1.0).item() == pytest.approx(0, abs=1e-6)
    one_for_all = signs[:, :1].expand(4, 3)
    assert cross_correlation(one_for_all, one_for_all, off_diagonal=1.0).item() == pytest.approx(6)


@given(views=VIEWS)
def test_one_row_and_a_collapsed_batch_give_the_number_of_dimensions(views: Views) -> None:
    a, b = views
    dim = a.shape[1]
    assert cross_correlation(a[:1], b[:1]).item() == dim
    assert cross_correlation(a[:1].expand(7, dim).float(), b[:1].expand(7, dim).float()).item() == dim


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e3, 1e10, 1e-20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_dimension_correlates_with_nothing_and_takes_no_gradient(
    constant: float, dtype: torch.dtype
) -> None:
    a, b = (x.to(dtype) for x in drawn(3, 10, 3))
    a[:, 1] = constant
    found = cross_correlation(a.requires_grad_(), b.requires_grad_())
    others = [0, 2]
    without = cross_correlation(a[:, others], b[:, others]).item()
    # C_11 = 0 costs 1, and what b has in dimension 1 correlates with the others as before.
    c = np.corrcoef(a.detach().double().numpy()[:, others], b.detach().double().numpy(), rowvar=False)[:2, 3]
    assert found.item() == pytest.approx(without + 1 + 0.005 * float((c**2).sum()), rel=1e-5)
    of_a, of_b = torch.autograd.grad(found, (a, b))
    assert torch.isfinite(of_a).all()
    assert torch.isfinite(of_b).all()
    assert not of_a[:, 1].any()
    assert of_a[:, others].any()


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_gradient_is_finite_at_extremes(factor: float) -> None:
    a, b = ((factor * x).float().requires_grad_() for x in drawn(4, 5, 3))
    for gradient in torch.autograd.grad(cross_correlation(a, b), (a, b)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("off_diagonal", [-0.1, math.nan])
def test_the_weight_must_be_in_range(off_diagonal: float) -> None:
    with pytest.raises(ValueError, match="off_diagonal must be >= 0"):
        cross_correlation(torch.eye(2), torch.eye(2), off_diagonal=off_diagonal)


@pytest.mark.parametrize(("a", "b"), [((3,), (3,)), ((2, 3), (3, 3)), ((2, 3), (2, 2)), ((0, 3), (0, 3))])
def test_shapes_must_fit_together(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        cross_correlation(torch.zeros(a), torch.zeros(b))
