import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from xfeat.heads import Recast


def a_prior(out: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randn(out, classes, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 9999), classes=st.integers(2, 6), spare=st.integers(0, 4), scale=st.floats(0.5, 20))
def test_inner_products_are_those_of_the_posteriors(seed: int, classes: int, spare: int, scale: float) -> None:
    prior = a_prior(classes + spare, classes, seed)
    z = normalize(torch.randn(5, classes + spare, generator=torch.Generator().manual_seed(seed + 1)), dim=1)
    found = Recast(prior, scale)(z).double()
    posteriors = []
    for row in z.double().tolist():
        logits = [scale * sum(a * b for a, b in zip(row, column, strict=True)) for column in prior.T.double().tolist()]
        total = sum(math.exp(value - max(logits)) for value in logits)
        posteriors.append([math.exp(value - max(logits)) / total for value in logits])
    p = torch.tensor(posteriors, dtype=torch.float64)
    torch.testing.assert_close(found @ found.T, p @ p.T, atol=2e-5, rtol=2e-5)
    assert (found.norm(dim=1) <= 1 + 1e-5).all()


def test_with_orthonormal_columns_a_certain_sample_lies_on_its_recast_label() -> None:
    prior = torch.linalg.qr(a_prior(9, 4, 0))[0]
    recast_labels = torch.linalg.pinv(prior)
    torch.testing.assert_close(Recast(prior, 200.0)(prior.T), recast_labels, atol=1e-5, rtol=1e-5)


@given(seed=st.integers(0, 999))
def test_the_axes_are_the_isometry_nearest_to_the_prior(seed: int) -> None:
    prior = a_prior(6, 3, seed)
    axes = Recast(prior, 1.0).axes
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=1e-5)
    g = torch.Generator().manual_seed(seed + 7)
    distance = (prior - axes.T).norm()
    for _ in range(20):
        other = torch.linalg.qr(axes.T + 0.3 * torch.randn(6, 3, generator=g))[0]
        assert distance <= (prior - other).norm() + 1e-5


def test_new_orthogonal_columns_leave_the_old_axes_where_they_are() -> None:
    prior = a_prior(8, 3, 5)
    new = torch.linalg.svd(prior)[0][:, 3:5] * 1.7
    old, grown = Recast(prior, 1.0).axes, Recast(torch.cat([prior, new], dim=1), 1.0).axes
    torch.testing.assert_close(grown[:3], old, atol=1e-5, rtol=1e-5)


def test_state_round_trip() -> None:
    made, other = Recast(a_prior(5, 2, 1), 3.0), Recast(torch.eye(5, 2), 1.0)
    other.load_state_dict(made.state_dict())
    z = torch.randn(4, 5)
    assert torch.equal(made(z), other(z))
