import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.heads import Dropout


@given(p=st.floats(0.0, 0.95), seed=st.integers(0, 999))
def test_values_are_zero_or_scaled_and_the_mask_is_that_of_uniform_numbers(p: float, seed: int) -> None:
    x = torch.randn(40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    found = Dropout(p)(x)
    torch.manual_seed(seed)
    uniform = torch.rand(40, 50, dtype=torch.float64)
    expected = [
        [value / (1 - p) if p == 0 or draw >= p else 0.0 for value, draw in zip(row, draws, strict=True)]
        for row, draws in zip(x.tolist(), uniform.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_and_the_mean_are_right(p: float) -> None:
    torch.manual_seed(0)
    found = Dropout(p)(torch.ones(1000, 1000))
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=0.003)
    assert found.mean().item() == pytest.approx(1, abs=0.01)


def test_evaluation_and_p_zero_change_nothing() -> None:
    x = torch.randn(5, 6)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_gradient_is_the_mask() -> None:
    x = torch.randn(6, 7, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (out != 0) / 0.7)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_p_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="p must lie"):
        Dropout(p)
