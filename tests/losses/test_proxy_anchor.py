"""Oracles: the double loop over proxies and rows in float64, and pytorch-metric-learning."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.losses import ProxyAnchorLoss
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses import proxy_anchor

Batch = tuple[Tensor, Tensor, Tensor, Tensor | None]


def literal(
    embeddings: Tensor, labels: Tensor, proxies: Tensor, scale: float, margin: float, known: Tensor | None = None
) -> float:
    taking_part = [c for c in range(len(proxies)) if known is None or known[c]]
    pull, push, pulling = 0.0, 0.0, 0
    for c in taking_part:
        proxy = [float(x) for x in proxies[c].double()]
        length = math.sqrt(sum(x * x for x in proxy))
        own, other = 0.0, 0.0
        for row, label in zip(embeddings.double(), labels, strict=True):
            cosine = sum(float(x) * y / length for x, y in zip(row, proxy, strict=True))
            if label == c:
                own += math.exp(-scale * (cosine - margin))
            else:
                other += math.exp(scale * (cosine + margin))
        pull += math.log1p(own)
        push += math.log1p(other)
        pulling += bool((labels == c).any())
    return pull / max(pulling, 1) + push / max(len(taking_part), 1)


def drawn(seed: int, rows: int, classes: int, dim: int, with_known: bool) -> Batch:
    g = torch.Generator().manual_seed(seed)
    embeddings = normalize(torch.randn(rows, dim, generator=g, dtype=torch.float64), dim=1)
    labels = torch.randint(classes, (rows,), generator=g)
    proxies = torch.randn(classes, dim, generator=g, dtype=torch.float64)
    known = torch.rand(classes, generator=g) < 0.6 if with_known else None
    return embeddings, labels, proxies, known


SIZES = (st.integers(0, 10**6), st.integers(0, 8), st.integers(1, 6), st.integers(1, 5))
BATCHES = st.builds(drawn, *SIZES, st.booleans())
WITH_UNKNOWN = st.builds(drawn, *SIZES, st.just(True))


@given(batch=BATCHES, scale=st.floats(0.5, 64), margin=st.floats(0, 0.5))
def test_equals_the_double_loop(batch: Batch, scale: float, margin: float) -> None:
    embeddings, labels, proxies, known = batch
    expected = literal(embeddings, labels, proxies, scale, margin, known)
    found = proxy_anchor(embeddings, labels, proxies, scale=scale, margin=margin, known=known)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    single = proxy_anchor(embeddings.float(), labels, proxies.float(), scale=scale, margin=margin, known=known)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=1e-6 * scale)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), classes=st.integers(1, 6))
def test_equals_pytorch_metric_learning(seed: int, rows: int, classes: int) -> None:
    embeddings, labels, proxies, _ = drawn(seed, rows, classes, 4, False)
    theirs = ProxyAnchorLoss(classes, 4, margin=0.2, alpha=16)
    theirs.proxies = torch.nn.Parameter(proxies.clone())
    expected = theirs(embeddings, labels)
    (gradient,) = torch.autograd.grad(expected, theirs.proxies)
    found = proxy_anchor(embeddings, labels, proxies.requires_grad_(), scale=16, margin=0.2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, proxies)[0], gradient)


@pytest.mark.parametrize("with_known", [False, True])
def test_gradients_match_finite_differences(with_known: bool) -> None:
    embeddings, labels, proxies, known = drawn(4, 5, 4, 3, with_known)
    assert torch.autograd.gradcheck(
        lambda x, p: proxy_anchor(x, labels, p, scale=5.0, known=known),
        (embeddings.requires_grad_(), proxies.requires_grad_()),
    )


@given(batch=BATCHES, seed=st.integers(0, 10**6))
def test_rows_and_classes_have_no_order(batch: Batch, seed: int) -> None:
    embeddings, labels, proxies, known = batch
    found = proxy_anchor(embeddings, labels, proxies, known=known)
    g = torch.Generator().manual_seed(seed)
    rows, classes = torch.randperm(len(labels), generator=g), torch.randperm(len(proxies), generator=g)
    again = proxy_anchor(
        embeddings[rows],
        classes.argsort()[labels[rows]],
        proxies[classes],
        known=None if known is None else known[classes],
    )
    torch.testing.assert_close(again, found)


@given(batch=BATCHES, factor=st.floats(1e-3, 1e3))
def test_the_length_of_a_proxy_does_not_matter(batch: Batch, factor: float) -> None:
    embeddings, labels, proxies, known = batch
    lengths = torch.linspace(1, factor, len(proxies), dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        proxy_anchor(embeddings, labels, proxies * lengths, known=known),
        proxy_anchor(embeddings, labels, proxies, known=known),
    )


@pytest.mark.parametrize("value", [0.0, 1e30, math.nan, math.inf])
@given(batch=WITH_UNKNOWN)
def test_unknown_proxies_have_no_influence(value: float, batch: Batch) -> None:
    embeddings, labels, proxies, known = batch
    assert known is not None
    kept = torch.full_like(labels, -1)  # a row without a proxy
    for place, c in enumerate(known.nonzero()):
        kept[labels == c] = place
    expected = proxy_anchor(embeddings, kept, proxies[known]) if known.any() else torch.zeros(())
    proxies = proxies.clone()
    proxies[~known] = value
    found = proxy_anchor(embeddings.requires_grad_(), labels, proxies.requires_grad_(), known=known)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    for gradient in torch.autograd.grad(found, (embeddings, proxies)):
        assert torch.isfinite(gradient).all()
    assert not torch.autograd.grad(proxy_anchor(embeddings, labels, proxies, known=known), proxies)[0][~known].any()


def test_its_value_at_a_perfect_match_and_at_collapse() -> None:
    axes, labels = torch.eye(3, dtype=torch.float64), torch.arange(3)
    perfect = math.log1p(math.exp(-32 * 0.9)) + math.log1p(2 * math.exp(32 * 0.1))
    assert proxy_anchor(axes, labels, axes).item() == pytest.approx(perfect, rel=1e-12)
    same = axes[:1].expand(3, 3)
    collapsed = math.log1p(math.exp(-32 * 0.9)) + math.log1p(2 * math.exp(32 * 1.1))
    assert proxy_anchor(same, labels, same).item() == pytest.approx(collapsed, rel=1e-12)
    assert proxy_anchor(axes, labels.roll(1), axes) > proxy_anchor(axes, labels, axes)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 0, 2]])
@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_gradient_is_finite_at_extremes(labels: list[int], scale: float) -> None:
    """Proxies without a row, rows exactly on and exactly opposite to a proxy."""
    proxies = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 1e-3]], requires_grad=True)
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = proxy_anchor(embeddings, torch.tensor(labels), proxies, scale=scale)
    assert torch.isfinite(loss)
    for gradient in torch.autograd.grad(loss, (embeddings, proxies)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("scale", "margin"), [(0.0, 0.1), (-1.0, 0.1), (math.nan, 0.1), (32.0, -0.1), (32.0, math.nan)]
)
def test_settings_must_be_in_range(scale: float, margin: float) -> None:
    with pytest.raises(ValueError, match="scale must be > 0 and margin >= 0"):
        proxy_anchor(torch.eye(2), torch.arange(2), torch.eye(2), scale=scale, margin=margin)


@pytest.mark.parametrize(
    ("embeddings", "labels", "proxies", "known"),
    [
        ((2,), (2,), (4, 3), (4,)),
        ((2, 3), (3,), (4, 3), (4,)),
        ((2, 3), (2,), (4, 2), (4,)),
        ((2, 3), (2,), (3,), (3,)),
        ((2, 3), (2,), (4, 3), (3,)),
    ],
)
def test_shapes_must_fit_together(
    embeddings: tuple[int, ...], labels: tuple[int, ...], proxies: tuple[int, ...], known: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        proxy_anchor(
            torch.zeros(embeddings),
            torch.zeros(labels, dtype=torch.long),
            torch.ones(proxies),
            known=torch.ones(known) > 0,
        )
