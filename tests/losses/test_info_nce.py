"""Oracle: the double loop over rows and candidates in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from xfeat.losses import info_nce

Batch = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def literal(
    a: Tensor, b: Tensor, temperature: float, keys: Tensor | None = None, present: Tensor | None = None
) -> float:
    rows = [i for i in range(len(a)) if present is None or present[i]]
    total = 0.0
    for queries, candidates in ((a, b), (b, a)):
        for i in rows:
            scores = {j: float(queries[i].double() @ candidates[j].double()) / temperature for j in rows}
            kept = [score for j, score in scores.items() if j == i or keys is None or keys[i] != keys[j]]
            highest = max(kept)
            total += highest + math.log(sum(math.exp(score - highest) for score in kept)) - scores[i]
    return total / (2 * len(rows)) if rows else 0.0


def drawn(seed: int, rows: int, dim: int, with_keys: bool, with_present: bool) -> Batch:
    g = torch.Generator().manual_seed(seed)
    a, b = (normalize(torch.randn(rows, dim, generator=g, dtype=torch.float64), dim=1) for _ in range(2))
    keys = torch.randint(max(1, rows // 2), (rows,), generator=g) if with_keys else None
    present = torch.rand(rows, generator=g) < 0.6 if with_present else None
    return a, b, keys, present


BATCHES = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 6), st.booleans(), st.booleans())
WITH_ABSENT = st.builds(
    drawn, st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 6), st.booleans(), st.just(True)
)


@given(batch=BATCHES, temperature=st.floats(0.01, 2.0))
def test_equals_the_double_loop(batch: Batch, temperature: float) -> None:
    a, b, keys, present = batch
    expected = literal(a, b, temperature, keys, present)
    found = info_nce(a, b, temperature, keys=keys, present=present)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    single = info_nce(a.float(), b.float(), temperature, keys=keys, present=present)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=1e-6 / temperature)


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.parametrize("with_present", [False, True])
def test_gradients_match_finite_differences(with_keys: bool, with_present: bool) -> None:
    a, b, keys, present = drawn(3, 6, 4, with_keys, with_present)
    assert torch.autograd.gradcheck(
        lambda x, y: info_nce(x, y, 0.3, keys=keys, present=present), (a.requires_grad_(), b.requires_grad_())
    )


@given(batch=BATCHES, seed=st.integers(0, 10**6))
def test_modalities_are_alike_and_rows_have_no_order(batch: Batch, seed: int) -> None:
    a, b, keys, present = batch
    found = info_nce(a, b, keys=keys, present=present)
    torch.testing.assert_close(info_nce(b, a, keys=keys, present=present), found)
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed))
    parts = (None if part is None else part[order] for part in (keys, present))
    torch.testing.assert_close(info_nce(a[order], b[order], keys=next(parts), present=next(parts)), found)


@pytest.mark.parametrize("value", [0.0, 1e30, math.nan, math.inf])
@given(batch=WITH_ABSENT)
def test_absent_rows_have_no_influence(value: float, batch: Batch) -> None:
    a, b, keys, present = batch
    assert present is not None
    expected = info_nce(a[present], b[present], keys=None if keys is None else keys[present]) if present.any() else 0.0
    a, b = a.clone(), b.clone()
    a[~present], b[~present] = value, value
    a.requires_grad_()
    b.requires_grad_()
    found = info_nce(a, b, keys=keys, present=present)
    assert found.item() == pytest.approx(float(expected), rel=1e-9, abs=1e-12)
    for gradient in torch.autograd.grad(found, (a, b)):
        assert torch.isfinite(gradient).all()
        assert not gradient[~present].any()


@given(batch=BATCHES)
def test_rows_of_one_key_do_not_push_each_other_apart(batch: Batch) -> None:
    """Row 0 once more, as another caption of the same sample."""
    a, b, _, _ = batch
    a, b = torch.cat([a, a[:1]]), torch.cat([b, b[:1]])
    keys = torch.arange(len(a))
    apart = info_nce(a, b, 1.0, keys=keys)
    torch.testing.assert_close(apart, info_nce(a, b, 1.0))
    keys[-1] = 0
    assert info_nce(a, b, 1.0, keys=keys) < apart
    assert info_nce(a, b, 1.0, keys=torch.zeros_like(keys)).item() == pytest.approx(0, abs=1e-12)


def test_its_value_at_chance_and_at_a_perfect_match() -> None:
    even = torch.ones(8, 1)
    assert info_nce(even, even).item() == pytest.approx(math.log(8), rel=1e-6)
    assert info_nce(torch.eye(8), torch.eye(8)).item() == pytest.approx(7 * math.exp(-20), abs=1e-6)
    assert info_nce(torch.ones(1, 3), torch.ones(1, 3)).item() == 0


def test_gradient_is_finite_at_a_tiny_temperature() -> None:
    a, b, keys, present = drawn(5, 7, 3, True, True)
    a = a.float().requires_grad_()
    info_nce(a, b.float(), 1e-4, keys=keys, present=present).backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        info_nce(torch.eye(2), torch.eye(2), temperature)


@pytest.mark.parametrize(
    ("a", "b", "keys", "present"),
    [
        ((2, 3), (3, 3), (2,), (2,)),
        ((2, 3), (2, 3), (3,), (2,)),
        ((2, 3), (2, 3), (2,), (2, 1)),
        ((2,), (2,), (2,), (2,)),
    ],
)
def test_shapes_must_fit_together(
    a: tuple[int, ...], b: tuple[int, ...], keys: tuple[int, ...], present: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        info_nce(torch.zeros(a), torch.zeros(b), keys=torch.zeros(keys), present=torch.ones(present) > 0)
