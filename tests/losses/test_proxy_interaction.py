"""Oracle: the double loop over modalities and classes in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity

from xfeat.losses import proxy_interaction

Proxies = tuple[Tensor, Tensor, Tensor | None]


def literal(hybrid: Tensor, single: Tensor, known: Tensor | None = None) -> float:
    apart = []
    for m in range(len(single)):
        for c in range(len(hybrid)):
            if known is None or known[m, c]:
                h, p = hybrid[c].double(), single[m, c].double()
                apart.append(1 - float(h @ p) / math.sqrt(float(h @ h) * float(p @ p)))
    return sum(apart) / len(apart) if apart else 0.0


def drawn(seed: int, modalities: int, classes: int, dim: int, with_known: bool) -> Proxies:
    g = torch.Generator().manual_seed(seed)
    hybrid = torch.randn(classes, dim, generator=g, dtype=torch.float64)
    single = torch.randn(modalities, classes, dim, generator=g, dtype=torch.float64)
    known = torch.rand(modalities, classes, generator=g) < 0.6 if with_known else None
    return hybrid, single, known


SIZES = (st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5))
PROXIES = st.builds(drawn, *SIZES, st.booleans())
WITH_UNKNOWN = st.builds(drawn, *SIZES, st.just(True))


@given(proxies=PROXIES)
def test_equals_the_double_loop(proxies: Proxies) -> None:
    hybrid, single, known = proxies
    expected = literal(hybrid, single, known)
    found = proxy_interaction(hybrid, single, known)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert -1e-12 <= found.item() <= 2 + 1e-12
    in_single = proxy_interaction(hybrid.float(), single.float(), known)
    assert in_single.dtype == torch.float32
    assert in_single.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(proxies=PROXIES)
def test_equals_the_cosine_of_torch(proxies: Proxies) -> None:
    hybrid, single, _ = proxies
    expected = (1 - cosine_similarity(single, hybrid.expand_as(single), dim=2)).mean()
    torch.testing.assert_close(proxy_interaction(hybrid, single), expected)


@pytest.mark.parametrize("with_known", [False, True])
def test_gradients_match_finite_differences(with_known: bool) -> None:
    hybrid, single, known = drawn(2, 2, 4, 3, with_known)
    assert torch.autograd.gradcheck(
        lambda h, p: proxy_interaction(h, p, known), (hybrid.requires_grad_(), single.requires_grad_())
    )


@given(proxies=PROXIES, seed=st.integers(0, 10**6))
def test_classes_and_modalities_have_no_order(proxies: Proxies, seed: int) -> None:
    hybrid, single, known = proxies
    g = torch.Generator().manual_seed(seed)
    m, c = torch.randperm(len(single), generator=g), torch.randperm(len(hybrid), generator=g)
    again = proxy_interaction(hybrid[c], single[m][:, c], None if known is None else known[m][:, c])
    torch.testing.assert_close(again, proxy_interaction(hybrid, single, known))


@given(proxies=PROXIES, factor=st.floats(1e-3, 1e3))
def test_the_length_of_a_proxy_does_not_matter(proxies: Proxies, factor: float) -> None:
    hybrid, single, known = proxies
    lengths = torch.linspace(1, factor, len(hybrid), dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        proxy_interaction(hybrid * lengths, single / lengths, known), proxy_interaction(hybrid, single, known)
    )


@pytest.mark.parametrize("value", [0.0, 1e30, math.nan, math.inf])
@given(proxies=WITH_UNKNOWN)
def test_unknown_proxies_have_no_influence(value: float, proxies: Proxies) -> None:
    hybrid, single, known = proxies
    assert known is not None
    expected = literal(hybrid, single, known)
    nowhere = ~known.any(dim=0)
    hybrid[nowhere], single[~known] = value, value
    found = proxy_interaction(hybrid.requires_grad_(), single.requires_grad_(), known)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    of_hybrid, of_single = torch.autograd.grad(found, (hybrid, single))
    assert torch.isfinite(of_hybrid).all()
    assert torch.isfinite(of_single).all()
    assert not of_hybrid[nowhere].any()
    assert not of_single[~known].any()


@given(proxies=PROXIES)
def test_its_value_when_all_agree_and_when_all_are_opposed(proxies: Proxies) -> None:
    hybrid, single, _ = proxies
    lengths = torch.arange(1.0, len(single) + 1, dtype=torch.float64)[:, None, None]
    assert proxy_interaction(hybrid, hybrid * lengths).item() == pytest.approx(0, abs=1e-12)
    assert proxy_interaction(hybrid, -hybrid * lengths).item() == pytest.approx(2, abs=1e-12)


def test_gradient_is_finite_where_proxies_agree_or_vanish() -> None:
    hybrid = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    single = torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[-1e-3, 0.0], [1e6, 1e6]]], requires_grad=True)
    for gradient in torch.autograd.grad(proxy_interaction(hybrid, single), (hybrid, single)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("hybrid", "single", "known"),
    [
        ((4,), (2, 4, 3), (2, 4)),
        ((4, 3), (4, 3), (2, 4)),
        ((4, 3), (2, 4, 2), (2, 4)),
        ((4, 3), (2, 5, 3), (2, 5)),
        ((4, 3), (2, 4, 3), (4, 2)),
    ],
)
def test_shapes_must_fit_together(hybrid: tuple[int, ...], single: tuple[int, ...], known: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        proxy_interaction(torch.ones(hybrid), torch.ones(single), torch.ones(known) > 0)
