"""The perceptron, one number at a time in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from xfeat.heads.perceptron import Perceptron


def made(seed: int, *, skip: bool, dropout: float = 0.5) -> Perceptron:
    torch.manual_seed(seed)
    network = Perceptron(3, 4, 2, dropout=dropout, skip=skip).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def literal(network: Perceptron, x: list[float], mask: list[float]) -> list[float]:
    weights, bias = network.input.weight.tolist(), network.input.bias.tolist()
    hidden = [
        keep * max(0.0, sum(w * v for w, v in zip(row, x, strict=True)) + b)
        for row, b, keep in zip(weights, bias, mask, strict=True)
    ]
    out = [
        sum(w * v for w, v in zip(row, hidden, strict=True)) + b
        for row, b in zip(network.output.weight.tolist(), network.output.bias.tolist(), strict=True)
    ]
    if network.skip is None:
        return out
    straight = [sum(w * v for w, v in zip(row, x, strict=True)) for row in network.skip.weight.tolist()]
    return [a + b for a, b in zip(out, straight, strict=True)]


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 4), skip=st.booleans(), masked=st.booleans())
def test_it_is_the_formula(seed: int, rows: int, skip: bool, masked: bool) -> None:
    network, g = made(seed, skip=skip), torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=g, dtype=torch.float64)
    mask: Tensor | None = network.mask(rows, g) if masked else None
    keep = torch.ones(rows, 4) if mask is None else mask
    expected = [literal(network, one, kept) for one, kept in zip(x.tolist(), keep.tolist(), strict=True)]
    torch.testing.assert_close(network(x, mask), torch.tensor(expected, dtype=torch.float64))


def test_the_linear_map_starts_at_zero() -> None:
    torch.manual_seed(0)
    with_map = Perceptron(3, 4, 2, skip=True)
    torch.manual_seed(0)
    without = Perceptron(3, 4, 2)
    x = torch.randn(5, 3)
    torch.testing.assert_close(with_map(x), without(x))


def test_a_mask_is_drawn_where_something_is_dropped() -> None:
    assert made(0, skip=False, dropout=0.0).mask(3, torch.Generator()) is None
    mask = made(0, skip=False).mask(64, torch.Generator().manual_seed(1))
    assert mask is not None
    assert mask.shape == (64, 4)
    assert set(mask.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("skip", [False, True])
def test_gradients_match_finite_differences(skip: bool) -> None:
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(made(1, skip=skip), (x.requires_grad_(),))
