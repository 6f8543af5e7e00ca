"""Oracle: exp(S / eps) scaled by columns and rows in turn; the two marginals are the laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.losses import single_assignment
from xfeat.losses.sinkhorn import log_plan


def literal_plan(similarity: Tensor, eps: float, iterations: int) -> np.ndarray:
    q = np.exp(similarity.double().numpy() / eps)
    rows, anchors = q.shape
    for _ in range(iterations):
        q = q / q.sum(0) * rows / anchors
        q = q / q.sum(1, keepdims=True)
    return q


def literal(similarity: Tensor, eps: float, iterations: int) -> Tensor:
    q = literal_plan(similarity, eps, iterations)
    low, high = q.min(1, keepdims=True), q.max(1, keepdims=True)
    return torch.from_numpy((q - low) / (high - low + 1e-5))


def drawn(seed: int, rows: int, anchors: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return (0.3 + 0.4 * torch.randn(rows, anchors, generator=g, dtype=torch.float64)).clamp(-1, 1)


PROBLEMS = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 17))


@given(similarity=PROBLEMS, eps=st.floats(0.005, 1.0), iterations=st.integers(1, 20))
def test_equals_the_literal_form(similarity: Tensor, eps: float, iterations: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        given_ = similarity.to(dtype)
        found = single_assignment(given_, eps=eps, iterations=iterations)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), literal(given_, eps, iterations), rtol=0, atol=tolerance)


@given(similarity=PROBLEMS, eps=st.floats(0.1, 1.0))
def test_rows_sum_to_1_and_anchors_get_equal_shares(similarity: Tensor, eps: float) -> None:
    plan = log_plan(similarity, eps=eps, iterations=1000).exp()
    rows, anchors = similarity.shape
    torch.testing.assert_close(plan.sum(1), torch.ones(rows, dtype=torch.float64))
    columns = torch.full((anchors,), rows / anchors, dtype=torch.float64)
    torch.testing.assert_close(plan.sum(0), columns, rtol=1e-3, atol=0)


@given(similarity=PROBLEMS, eps=st.floats(0.02, 1.0), seed=st.integers(0, 10**6))
def test_a_plan_has_the_ratios_of_its_kernel(similarity: Tensor, eps: float, seed: int) -> None:
    """Scaled by rows and columns alone: cross ratios are those of exp(S / eps), adding to a column changes nothing."""
    moved = similarity + torch.randn(similarity.shape[1], generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(log_plan(moved, eps=eps), log_plan(similarity, eps=eps), rtol=0, atol=1e-9)

    def cross(x: Tensor) -> Tensor:
        return x - x[:1] - x[:, :1] + x[0, 0]

    torch.testing.assert_close(cross(log_plan(similarity, eps=eps)), cross(similarity / eps), rtol=1e-9, atol=1e-9)


@given(similarity=PROBLEMS, seed=st.integers(0, 10**6))
def test_order_of_rows_and_anchors_is_kept(similarity: Tensor, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows, anchors = (torch.randperm(size, generator=g) for size in similarity.shape)
    expected = single_assignment(similarity)[rows][:, anchors]
    torch.testing.assert_close(single_assignment(similarity[rows][:, anchors]), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_nothing_overflows_and_a_matching_is_found(scale: float) -> None:
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(6, generator=g)
    similarity = scale * (torch.eye(6)[order] + 0.1 * torch.rand(6, 6, generator=g))
    found = single_assignment(similarity, eps=1e-4)
    torch.testing.assert_close(found, torch.eye(6)[order], rtol=0, atol=2e-5)


def test_ranges_and_a_row_without_differences() -> None:
    found = single_assignment(drawn(1, 30, 7))
    assert (found.amin(1) == 0).all()
    assert ((found.amax(1) > 0.999) & (found.amax(1) <= 1)).all()
    assert torch.equal(single_assignment(torch.ones(4, 1)), torch.zeros(4, 1))


def test_no_gradient_is_taken_and_the_input_is_left_alone() -> None:
    similarity = drawn(1, 6, 4).requires_grad_()
    before = similarity.detach().clone()
    assert not single_assignment(similarity).requires_grad
    assert torch.equal(similarity.detach(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"eps": 0.0}, "eps"), ({"iterations": 0}, "iterations"), ({"similarity": torch.zeros(4)}, "similarity")],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        single_assignment(**({"similarity": torch.zeros(3, 4)} | settings))  # type: ignore[arg-type]
