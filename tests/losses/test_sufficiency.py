"""Oracle: the double loop over rows and proxies in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses import sufficiency

Batch = tuple[Tensor, Tensor, Tensor]


def literal(causal: Tensor, embeddings: Tensor, proxies: Tensor, scale: float) -> float:
    def log_probability(row: Tensor) -> list[float]:
        scores = [scale * float(row @ h) / float(row.norm() * h.norm()) for h in proxies.double()]
        total = max(scores) + math.log(sum(math.exp(score - max(scores)) for score in scores))
        return [score - total for score in scores]

    divergence = 0.0
    for c, e in zip(causal.double(), embeddings.double(), strict=True):
        for target, found in zip(log_probability(e), log_probability(c), strict=True):
            divergence += math.exp(target) * (target - found)
    return divergence / max(len(causal), 1)


def drawn(seed: int, rows: int, classes: int, dim: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    causal, embeddings = (torch.randn(rows, dim, generator=g, dtype=torch.float64) for _ in range(2))
    return causal, normalize(embeddings, dim=1), torch.randn(classes, dim, generator=g, dtype=torch.float64)


BATCHES = st.builds(drawn, st.integers(0, 10**6), st.integers(0, 7), st.integers(1, 6), st.integers(1, 5))


@given(batch=BATCHES, scale=st.floats(0.1, 64))
def test_equals_the_double_loop(batch: Batch, scale: float) -> None:
    expected = literal(*batch, scale)
    found = sufficiency(*batch, scale=scale)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert -1e-12 <= found.item() <= 2 * scale + math.log(len(batch[2])) + 1e-12
    single = sufficiency(*(part.float() for part in batch), scale=scale)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=1e-6 * max(scale, 1))


@given(batch=BATCHES)
def test_equals_the_divergence_of_torch(batch: Batch) -> None:
    causal, embeddings, proxies = batch
    h = normalize(proxies, dim=1)
    p, q = (
        torch.distributions.Categorical(logits=16 * x @ h.T, validate_args=False)
        for x in (embeddings, normalize(causal, dim=1))
    )
    if len(causal):
        torch.testing.assert_close(sufficiency(*batch), torch.distributions.kl_divergence(p, q).mean())


def test_gradient_matches_finite_differences() -> None:
    causal, embeddings, proxies = drawn(5, 4, 5, 3)
    assert torch.autograd.gradcheck(lambda c: sufficiency(c, embeddings, proxies, scale=3.0), causal.requires_grad_())


def test_only_the_causal_part_learns() -> None:
    batch = drawn(6, 4, 5, 3)
    loss = sufficiency(*(part.requires_grad_() for part in batch))
    of_causal, *others = torch.autograd.grad(loss, batch, allow_unused=True)
    assert of_causal is not None
    assert of_causal.any()
    assert others == [None, None]


@given(batch=BATCHES, seed=st.integers(0, 10**6))
def test_rows_and_proxies_have_no_order(batch: Batch, seed: int) -> None:
    causal, embeddings, proxies = batch
    g = torch.Generator().manual_seed(seed)
    rows, classes = (torch.randperm(len(part), generator=g) for part in (causal, proxies))
    torch.testing.assert_close(sufficiency(causal[rows], embeddings[rows], proxies[classes]), sufficiency(*batch))


@given(batch=BATCHES, factor=st.floats(1e-3, 1e3))
def test_lengths_of_causal_parts_and_proxies_do_not_matter(batch: Batch, factor: float) -> None:
    causal, embeddings, proxies = batch
    lengths = torch.linspace(1, factor, len(proxies), dtype=torch.float64)[:, None]
    torch.testing.assert_close(sufficiency(causal * factor, embeddings, proxies * lengths), sufficiency(*batch))


@given(batch=BATCHES, factor=st.floats(0.01, 100))
def test_it_is_0_where_the_causal_part_is_classified_as_the_whole(batch: Batch, factor: float) -> None:
    _, embeddings, proxies = batch
    assert sufficiency(factor * embeddings, embeddings, proxies).item() == pytest.approx(0, abs=1e-12)
    assert sufficiency(embeddings.roll(1, 0), embeddings, proxies[:1]).item() == pytest.approx(0, abs=1e-12)


def test_its_value_at_the_wrong_class_and_where_nothing_is_told() -> None:
    axes = torch.eye(2, dtype=torch.float64)
    # Two proxies: p = sigmoid(16) of the class, log p / (1 - p) = 16.
    p = 1 / (1 + math.exp(-16))
    assert sufficiency(axes.roll(1, 0), axes, axes).item() == pytest.approx(16 * (2 * p - 1), rel=1e-9)
    even = torch.ones(2, 2, dtype=torch.float64)
    expected = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    assert sufficiency(even, axes, axes).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_gradient_is_finite_at_extremes(scale: float) -> None:
    causal = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.0, 0.0], [1e10, 1e-10]], requires_grad=True)
    embeddings = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    loss = sufficiency(causal, embeddings, torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1e-3]]), scale=scale)
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, causal)[0]).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan])
def test_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be > 0"):
        sufficiency(torch.eye(2), torch.eye(2), torch.eye(2), scale=scale)


@pytest.mark.parametrize(
    ("causal", "embeddings", "proxies"),
    [
        ((2,), (2,), (4, 2)),
        ((2, 3), (3, 3), (4, 3)),
        ((2, 3), (2, 3), (4, 2)),
        ((2, 3), (2, 3), (3,)),
        ((2, 3), (2, 3), (0, 3)),
    ],
)
def test_shapes_must_fit_together(
    causal: tuple[int, ...], embeddings: tuple[int, ...], proxies: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        sufficiency(torch.ones(causal), torch.ones(embeddings), torch.ones(proxies))
