"""Oracle: all K slices, plainly, in float64; on logarithms where exp overflows."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xfeat.losses import multi_assignment
from xfeat.losses.multi_sinkhorn import log_slices

Weights = Literal["discrete", "continuous"]
GUARD = 1e-5
SHAPES = [(1, 2, 1), (1, 2, 2), (6, 2, 1), (9, 5, 5), (9, 5, 1), (1, 7, 3), (40, 17, 8), (3, 17, 16)]


def slice_weights(anchors: int, required: int, weights: Weights) -> list[float]:
    if weights == "continuous":
        return [0.1 + 0.9 * k / anchors for k in range(1, anchors + 1)]
    return [0.25] * (anchors - required) + [1.0] * required


def handed_out(marginal: list[float] | None, sums: np.ndarray, rows: int) -> np.ndarray:
    """Largest share to the largest sum."""
    anchors = len(sums)
    shares = sorted(marginal or [1.0] * anchors)
    found = np.zeros(anchors)
    for place, anchor in enumerate(np.argsort(sums, kind="stable")):
        found[anchor] = rows * shares[place] / sum(shares)
    return found


def literal_slices(
    similarity: Tensor, required: int, eps: float, iterations: int, weights: Weights, marginal: list[float] | None
) -> np.ndarray:
    s = similarity.double().numpy()
    rows, anchors = s.shape
    with np.errstate(over="ignore"):
        q = np.stack([np.exp(s * w / eps) for w in slice_weights(anchors, required, weights)])
    q = np.minimum(q, np.finfo(np.float64).max)
    q = q / q.sum()
    m = handed_out(marginal, q[0].sum(0), rows)
    for _ in range(iterations):
        q = q * (m / (q.sum(1, keepdims=True) + GUARD))
        q = q / (q.sum(0, keepdims=True) + GUARD)
        q = q / (q.sum(2, keepdims=True) + GUARD)
    return q


def logarithmic_slices(similarity: Tensor, required: int, eps: float, iterations: int) -> np.ndarray:
    """The same of discrete weights and a uniform marginal, on logarithms."""
    s = similarity.double().numpy()
    rows, anchors = s.shape
    logs = np.stack([s * w / eps for w in slice_weights(anchors, required, "discrete")])

    def total(axis: int | None) -> np.ndarray:
        top = logs.max(axis, keepdims=True)
        return top + np.log(np.exp(logs - top).sum(axis, keepdims=True))

    logs = logs - total(None)
    for _ in range(iterations):
        for axis, goal in ((1, rows / anchors), (0, 1.0), (2, 1.0)):
            logs = logs + np.log(goal) - np.logaddexp(total(axis), np.log(GUARD))
    return np.exp(logs)


def targets(slices: np.ndarray, required: int) -> Tensor:
    found = slices[-required:].sum(0)
    low, high = found.min(1, keepdims=True), found.max(1, keepdims=True)
    return torch.from_numpy(((found - low) / (high - low + GUARD)).astype(np.float64))


def literal(
    similarity: Tensor,
    required: int,
    eps: float = 0.07,
    iterations: int = 20,
    weights: Weights = "discrete",
    marginal: list[float] | None = None,
) -> Tensor:
    return targets(literal_slices(similarity, required, eps, iterations, weights, marginal), required)


def from_logarithms(similarity: Tensor, required: int, eps: float, iterations: int) -> Tensor:
    """The form that stays on a GPU, here on the CPU."""
    log, counts, groups = log_slices(similarity, required, eps=eps, iterations=iterations)
    return targets((log.exp() * counts[:, None, None])[-groups:].sum(0, keepdim=True).numpy(), 1)


def cosines(seed: int, rows: int, anchors: int, kind: str) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        return 2 * torch.rand(rows, anchors, generator=g, dtype=torch.float64) - 1
    if kind == "extremes":
        return (2 * torch.randint(2, (rows, anchors), generator=g) - 1).double()
    spread = 10.0 ** -(1 + seed % 7) if kind == "near constant" else 0.2
    return (0.6 + spread * torch.randn(rows, anchors, generator=g, dtype=torch.float64)).clamp(-1, 1)


@st.composite
def problems(draw: Callable[[st.SearchStrategy[object]], object]) -> tuple[Tensor, int]:
    anchors = draw(st.integers(2, 17))
    assert isinstance(anchors, int)
    similarity = st.builds(
        cosines,
        st.integers(0, 10**6),
        st.integers(1, 40),
        st.just(anchors),
        st.sampled_from(["uniform", "extremes", "near constant", "clustered"]),
    )
    return draw(similarity), draw(st.integers(1, anchors))  # type: ignore[return-value]


EPS = st.floats(0.005, 1.0) | st.sampled_from([0.005, 0.0075, 0.02, 0.07])
MARGINALS = st.none() | st.integers(0, 10**6)


def drawn_marginal(seed: int | None, anchors: int) -> Tensor | None:
    """Weights of any order and sum, now and then none for an anchor."""
    if seed is None:
        return None
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(anchors, generator=g, dtype=torch.float64) + 0.05
    weights[0] *= seed % 3 > 0
    return weights


def untied(similarity: Tensor, seed: int | None) -> Tensor:
    """Equal column sums have no order of their own, which a marginal would follow."""
    return similarity if seed is None else 0.9 * similarity + 0.01 * cosines(seed, *similarity.shape, "uniform")


@given(problem=problems(), eps=EPS, iterations=st.sampled_from([1, 2, 20]), marginal=MARGINALS)
def test_equals_all_slices(problem: tuple[Tensor, int], eps: float, iterations: int, marginal: int | None) -> None:
    similarity, required = problem
    weights = drawn_marginal(marginal, similarity.shape[1])
    similarity = untied(similarity, marginal)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        given_ = similarity.to(dtype)
        found = multi_assignment(given_, required, eps=eps, iterations=iterations, marginal=weights)
        expected = literal(given_, required, eps, iterations, marginal=None if weights is None else weights.tolist())
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@given(problem=problems(), eps=EPS, iterations=st.sampled_from([1, 2, 20]), marginal=MARGINALS)
def test_continuous_weights_equal_all_slices(
    problem: tuple[Tensor, int], eps: float, iterations: int, marginal: int | None
) -> None:
    similarity, required = problem
    weights = drawn_marginal(marginal, similarity.shape[1])
    similarity = untied(similarity, marginal)
    found = multi_assignment(
        similarity, required, eps=eps, iterations=iterations, weights="continuous", marginal=weights
    )
    listed = None if weights is None else weights.tolist()
    expected = literal(similarity, required, eps, iterations, "continuous", listed)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@given(problem=problems(), eps=EPS, iterations=st.sampled_from([1, 20]))
def test_logarithms_equal_all_slices(problem: tuple[Tensor, int], eps: float, iterations: int) -> None:
    similarity, required = problem
    torch.testing.assert_close(
        from_logarithms(similarity, required, eps, iterations),
        literal(similarity, required, eps, iterations),
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.parametrize("eps", [0.005, 0.07, 1.0])
@pytest.mark.parametrize("weights", ["discrete", "continuous"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_all_slices_at_the_ends(shape: tuple[int, int, int], weights: Weights, eps: float) -> None:
    rows, anchors, required = shape
    for kind in ("uniform", "extremes", "clustered"):
        similarity = cosines(7, rows, anchors, kind)
        found = multi_assignment(similarity, required, eps=eps, weights=weights)
        torch.testing.assert_close(found, literal(similarity, required, eps, weights=weights), rtol=0, atol=1e-9)


@pytest.mark.parametrize("eps", [0.005, 0.07])
def test_equals_all_slices_at_a_size_as_in_training(eps: float) -> None:
    similarity = cosines(3, 700, 32, "clustered").float()
    found = multi_assignment(similarity, 16, eps=eps)
    torch.testing.assert_close(found.double(), literal(similarity, 16, eps), rtol=0, atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 3, 20, 300])
@pytest.mark.parametrize("required", [1, 4, 9])
@pytest.mark.parametrize(("eps", "scale"), [(1e-4, 50.0), (1e-4, 1.0), (0.0015, 1.0), (0.003, 1.0), (0.07, 50.0)])
def test_nothing_overflows(eps: float, scale: float, required: int, iterations: int) -> None:
    """An entry may lie so low that it takes tens of iterations to come up; its logarithm is kept."""
    for seed, kind in enumerate(("uniform", "extremes", "clustered")):
        similarity = (scale * cosines(seed, 21, 9, kind)).float()
        found = multi_assignment(similarity, required, eps=eps, iterations=iterations)
        expected = targets(logarithmic_slices(similarity, required, eps, iterations), required)
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [-50.0, 0.0, 50.0])
def test_a_batch_without_differences_has_no_preference(value: float) -> None:
    for eps in (1e-4, 0.07):
        found = multi_assignment(torch.full((5, 6), value), 3, eps=eps)
        torch.testing.assert_close(found, torch.zeros(5, 6), rtol=0, atol=1e-6)


@given(problem=problems(), eps=EPS, weights=st.sampled_from(["discrete", "continuous"]))
def test_rows_reach_from_0_to_1(problem: tuple[Tensor, int], eps: float, weights: Weights) -> None:
    similarity, required = problem
    found = multi_assignment(similarity, required, eps=eps, weights=weights)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found.amin(1) == 0).all()
    sums = literal_slices(similarity, required, eps, 20, weights, None)[-required:].sum(0)
    reach = torch.from_numpy(sums.max(1) - sums.min(1))
    torch.testing.assert_close(found.amax(1), reach / (reach + GUARD), rtol=0, atol=1e-9)


@given(problem=problems(), eps=EPS, seed=st.integers(0, 10**6), marginal=MARGINALS)
def test_order_of_rows_and_anchors_is_kept(
    problem: tuple[Tensor, int], eps: float, seed: int, marginal: int | None
) -> None:
    similarity, required = problem
    similarity = untied(similarity, seed)
    weights = drawn_marginal(marginal, similarity.shape[1])
    g = torch.Generator().manual_seed(seed)
    rows, anchors = (torch.randperm(size, generator=g) for size in similarity.shape)
    found = multi_assignment(similarity[rows][:, anchors], required, eps=eps, marginal=weights)
    expected = multi_assignment(similarity, required, eps=eps, marginal=weights)[rows][:, anchors]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


@given(problem=problems(), scale=st.floats(0.01, 100.0), seed=st.integers(0, 10**6))
def test_a_marginal_has_no_unit_and_no_order(problem: tuple[Tensor, int], scale: float, seed: int) -> None:
    similarity, required = problem
    marginal = drawn_marginal(seed, similarity.shape[1])
    assert marginal is not None
    similarity = untied(similarity, seed)
    expected = multi_assignment(similarity, required, marginal=marginal)
    torch.testing.assert_close(multi_assignment(similarity, required, marginal=scale * marginal.flip(0)), expected)


def test_an_even_marginal_is_the_uniform_one() -> None:
    similarity = cosines(1, 12, 5, "uniform")
    torch.testing.assert_close(
        multi_assignment(similarity, 2, marginal=torch.full((5,), 3)), multi_assignment(similarity, 2)
    )


@given(problem=problems(), eps=st.floats(0.3, 1.0), weights=st.sampled_from(["discrete", "continuous"]))
def test_slices_share_every_entry_and_rows_sum_to_1(problem: tuple[Tensor, int], eps: float, weights: Weights) -> None:
    similarity, required = problem
    log, counts, _ = log_slices(similarity, required, eps=eps, iterations=200, weights=weights)
    slices = log.exp()
    rows, anchors = similarity.shape
    assert counts.sum() == anchors
    torch.testing.assert_close(slices.sum(2), torch.ones_like(slices[:, :, 0]), rtol=0, atol=1e-3)
    everything = (slices * counts[:, None, None]).sum(0)
    torch.testing.assert_close(everything, torch.ones_like(everything), rtol=0, atol=5e-3)
    columns = slices.sum(1) * anchors / rows
    torch.testing.assert_close(columns, torch.ones_like(columns), rtol=0, atol=5e-3)


def test_about_as_many_anchors_as_required_are_taken() -> None:
    similarity = cosines(2, 400, 16, "clustered")
    for required in (4, 8, 12):
        taken = (multi_assignment(similarity, required) > 0.5).sum(1).double().mean().item()
        assert taken == pytest.approx(required, abs=0.3)


def test_no_gradient_is_taken_and_the_input_is_left_alone() -> None:
    similarity = cosines(1, 6, 4, "uniform").requires_grad_()
    before = similarity.detach().clone()
    for eps in (0.07, 1e-4):
        assert not multi_assignment(similarity, 2, eps=eps).requires_grad
    assert torch.equal(similarity.detach(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"required": 0}, "required"),
        ({"required": 5}, "required"),
        ({"eps": 0.0}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"iterations": 0}, "iterations"),
        ({"weights": "graded"}, "weights"),
        ({"marginal": torch.ones(3)}, "marginal"),
        ({"similarity": torch.zeros(4)}, "similarity"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multi_assignment(**({"similarity": torch.zeros(3, 4), "required": 2} | settings))  # type: ignore[arg-type]
