import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.losses import mix


@given(gamma=st.floats(0.0, 1.0), seed=st.integers(0, 10**6))
def test_mixing_follows_its_formula_and_keeps_the_mass_of_labels(gamma: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z, y = torch.randn(6, 3, generator=generator), torch.rand(6, 4, generator=generator)
    pi = torch.randperm(6, generator=generator)
    mixed_z, mixed_y = mix(z, y, pi, gamma)
    for row in range(6):
        torch.testing.assert_close(mixed_z[row], gamma * z[row] + (1 - gamma) * z[pi[row]], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(mixed_y[row], gamma * y[row] + (1 - gamma) * y[pi[row]], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(mixed_y.sum(0), y.sum(0), atol=1e-5, rtol=1e-5)


def test_mixing_nothing_returns_the_same_tensors() -> None:
    z, y = torch.randn(3, 2), torch.rand(3, 2)
    assert mix(z, y, torch.tensor([2, 0, 1]), 1.0) == (z, y)
