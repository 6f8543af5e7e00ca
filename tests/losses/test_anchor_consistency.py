"""Oracle: the loop over rows and anchors in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.losses import assignment_cost

Batch = tuple[Tensor, Tensor, Tensor | None]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))


def literal(logits: Tensor, target: Tensor, temperature: float, present: Tensor | None = None) -> float:
    rows = [i for i in range(len(logits)) if present is None or present[i]]
    total = 0.0
    for i in rows:
        costs = []
        for x, t in zip(logits[i].tolist(), target[i].tolist(), strict=True):
            score = math.exp(x / temperature)
            costs.append(-t * log_sigmoid(score) - (1 - t) * log_sigmoid(-score))
        total += sum(costs) / len(costs)
    return total / len(rows) if rows else 0.0


def drawn(seed: int, rows: int, anchors: int, with_present: bool) -> Batch:
    g = torch.Generator().manual_seed(seed)
    logits, target = torch.rand(2, rows, anchors, generator=g, dtype=torch.float64)
    target[target < 0.2], target[target > 0.8] = 0.0, 1.0
    return 2 * logits - 1, target, torch.rand(rows, generator=g) < 0.6 if with_present else None


BATCHES = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.booleans())
WITH_ABSENT = st.builds(drawn, st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.just(True))


@given(batch=BATCHES, temperature=st.floats(0.05, 2.0))
def test_equals_the_double_loop(batch: Batch, temperature: float) -> None:
    logits, target, present = batch
    expected = literal(logits, target, temperature, present)
    assert assignment_cost(logits, target, temperature, present=present).item() == pytest.approx(expected, rel=1e-9)
    single = assignment_cost(logits.float(), target.float(), temperature, present=present)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("with_present", [False, True])
def test_gradient_matches_finite_differences_and_the_target_takes_none(with_present: bool) -> None:
    logits, target, present = drawn(3, 5, 4, with_present)
    assert torch.autograd.gradcheck(
        lambda x: assignment_cost(x, target, 0.5, present=present), (logits.requires_grad_(),)
    )
    target.requires_grad_()
    assignment_cost(logits, target, present=present).backward()
    assert target.grad is None


@pytest.mark.parametrize("value", [0.0, 1e30, math.nan, math.inf])
@given(batch=WITH_ABSENT)
def test_absent_rows_have_no_influence(value: float, batch: Batch) -> None:
    logits, target, present = batch
    assert present is not None
    expected = float(assignment_cost(logits[present], target[present])) if present.any() else 0.0
    logits, target = logits.clone(), target.clone()
    logits[~present], target[~present] = value, value
    logits.requires_grad_()
    found = assignment_cost(logits, target, present=present)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    (gradient,) = torch.autograd.grad(found, logits)
    assert torch.isfinite(gradient).all()
    assert not gradient[~present].any()


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [0.1, 0.0125])
def test_ends_of_the_range_are_finite(target: float, temperature: float) -> None:
    logits = torch.tensor([[-1.0, 0.0, 1.0]], requires_grad=True)
    loss = assignment_cost(logits, torch.full((1, 3), target), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(literal(logits, torch.full((1, 3), target), temperature), rel=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_wanted_anchor_is_drawn_nearer_and_another_pushed_away() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    assignment_cost(logits, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        assignment_cost(torch.eye(2), torch.eye(2), temperature)


@pytest.mark.parametrize(
    ("logits", "target", "present"), [((2, 3), (3, 3), (2,)), ((2, 3), (2, 3), (3,)), ((2,), (2,), (2,))]
)
def test_shapes_must_fit_together(logits: tuple[int, ...], target: tuple[int, ...], present: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        assignment_cost(torch.zeros(logits), torch.zeros(target), present=torch.ones(present) > 0)
