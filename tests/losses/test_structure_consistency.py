"""Oracle: the double loop over all pairs in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.losses import mix, structure_consistency


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths


def literal(recast: torch.Tensor, embeddings: torch.Tensor) -> tuple[float, float]:
    r, z = recast.double().tolist(), embeddings.double().tolist()
    batch = len(r)
    pairs = [(i, j) for i in range(batch) for j in range(batch)]
    intra = sum((2 * cosine(r[i], r[j]) - 2 * cosine(z[i], z[j])) ** 2 for i, j in pairs)
    inter = sum((2 * cosine(r[i], z[j]) - 2 * cosine(r[j], z[i])) ** 2 for i, j in pairs)
    return intra / batch**2, inter / batch**2


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 6), dim=st.integers(1, 7))
def test_equals_the_double_loop(seed: int, batch: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    recast, embeddings = torch.randn(2, batch, dim, generator=generator)
    expected = literal(recast, embeddings)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        intra, inter = structure_consistency(recast.to(dtype), embeddings.to(dtype))
        assert intra.item() == pytest.approx(expected[0], rel=tolerance, abs=tolerance)
        assert inter.item() == pytest.approx(expected[1], rel=tolerance, abs=tolerance)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 9.0))
def test_both_vanish_where_embeddings_are_the_recast_labels_up_to_length(seed: int, scale: float) -> None:
    recast = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    intra, inter = structure_consistency(recast, scale * recast)
    assert intra.item() == pytest.approx(0, abs=1e-12)
    assert inter.item() == pytest.approx(0, abs=1e-12)


def test_gradients_match_finite_differences() -> None:
    recast = torch.randn(4, 3, dtype=torch.float64)
    embeddings = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: structure_consistency(recast, z), (embeddings,))


def test_a_zero_row_has_a_finite_gradient() -> None:
    embeddings = torch.tensor([[0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    intra, inter = structure_consistency(torch.eye(2), embeddings)
    (intra + inter).backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        structure_consistency(torch.zeros(2, 3), torch.zeros(2, 4))


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
