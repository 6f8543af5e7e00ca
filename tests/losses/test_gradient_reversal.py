"""Oracle: the gradient of the same computation without reversal, times -weight."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from xfeat.losses import reverse_gradient


def drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(seed=st.integers(0, 10**6), shape=SHAPES, dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_what_goes_forward_is_the_input(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = drawn(seed, shape, dtype)
    found = reverse_gradient(x.requires_grad_(), 0.3)
    assert found.dtype == dtype
    assert torch.equal(found, x)


@pytest.mark.parametrize("as_tensor", [False, True])
@given(seed=st.integers(0, 10**6), shape=SHAPES, weight=st.floats(0, 10))
def test_what_goes_backward_is_reversed(as_tensor: bool, seed: int, shape: tuple[int, ...], weight: float) -> None:
    x = drawn(seed, shape).requires_grad_()
    factor = torch.tensor(weight, dtype=torch.float64) if as_tensor else weight
    (plain,) = torch.autograd.grad(x.sin().square().sum(), x)
    (found,) = torch.autograd.grad(reverse_gradient(x, factor).sin().square().sum(), x)
    torch.testing.assert_close(found, -weight * plain, rtol=1e-14, atol=0)


@given(seed=st.integers(0, 10**6), first=st.floats(0, 3), second=st.floats(0, 3))
def test_two_in_a_row_multiply(seed: int, first: float, second: float) -> None:
    x = drawn(seed, (5,)).requires_grad_()
    (found,) = torch.autograd.grad(reverse_gradient(reverse_gradient(x, first), second).exp().sum(), x)
    torch.testing.assert_close(found, first * second * x.detach().exp())


def test_second_derivatives_pass_through() -> None:
    x = drawn(1, (4,)).requires_grad_()
    (first,) = torch.autograd.grad((reverse_gradient(x, 0.5) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    # First: -0.5 times 3 x^2; what comes back through x once more is reversed once more.
    torch.testing.assert_close(second, 0.25 * 6 * x.detach())


def test_a_ramp_in_a_tensor_is_followed() -> None:
    x, weight = drawn(2, (3,)).requires_grad_(), torch.tensor(0.0)
    for value in (0.0, 0.5, 1.0):
        weight.fill_(value)
        (gradient,) = torch.autograd.grad(reverse_gradient(x, weight).sum(), x)
        assert gradient.tolist() == [-value] * 3


def test_the_classifier_learns_while_what_it_reads_unlearns() -> None:
    x, labels = drawn(3, (16, 4)).requires_grad_(), torch.arange(16) % 2
    w = drawn(4, (4, 2)).requires_grad_()
    loss = cross_entropy(reverse_gradient(x) @ w, labels)
    of_x, of_w = torch.autograd.grad(loss, (x, w))
    with torch.no_grad():
        assert cross_entropy(x @ (w - 0.01 * of_w), labels) < loss
        assert cross_entropy((x - 0.01 * of_x) @ w, labels) > loss


def test_without_gradient_nothing_is_recorded() -> None:
    assert not reverse_gradient(torch.ones(2)).requires_grad


def test_a_weight_must_be_one_number_and_not_negative() -> None:
    for weight in (-1.0, math.nan):
        with pytest.raises(ValueError, match="weight must be >= 0"):
            reverse_gradient(torch.ones(2), weight)
    with pytest.raises(ValueError, match="scalar tensor"):
        reverse_gradient(torch.ones(2), torch.ones(2))
