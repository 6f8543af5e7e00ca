"""The literal formula in float64 is the oracle; the two ends of q and label scaling are the laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfeat.losses import class_log_probability, generalized_cross_entropy


def literal(logits: torch.Tensor, targets: torch.Tensor, q: float) -> float:
    losses = []
    for scores, weights in zip(logits.double().tolist(), targets.double().tolist(), strict=True):
        exps = [torch.tensor(score, dtype=torch.float64).exp().item() for score in scores]
        p = sum(e / sum(exps) * w / sum(weights) for e, w in zip(exps, weights, strict=True))
        losses.append((1 - p**q) / q)
    return sum(losses) / len(losses)


def draw(seed: int, batch: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(batch, classes, generator=generator)
    targets = (torch.rand(batch, classes, generator=generator) < 0.5).float()
    targets[torch.arange(batch), torch.randint(classes, (batch,), generator=generator)] += 0.5
    return logits, targets


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 6), classes=st.integers(1, 8), q=st.floats(0.02, 1.0))
def test_equals_the_literal_formula(seed: int, batch: int, classes: int, q: float) -> None:
    logits, targets = draw(seed, batch, classes)
    expected = literal(logits, targets, q)
    assert generalized_cross_entropy(logits, targets, q).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert generalized_cross_entropy(logits.double(), targets.double(), q).item() == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 50.0), q=st.floats(0.0, 1.0))
def test_targets_count_in_proportion(seed: int, scale: float, q: float) -> None:
    logits, targets = (tensor.double() for tensor in draw(seed, 5, 4))
    torch.testing.assert_close(
        generalized_cross_entropy(logits, targets * scale, q), generalized_cross_entropy(logits, targets, q)
    )


def test_its_ends_are_cross_entropy_and_mean_absolute_error() -> None:
    logits, labels = torch.randn(9, 5, dtype=torch.float64), torch.randint(5, (9,))
    one_hot = torch.nn.functional.one_hot(labels, 5).double()
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(generalized_cross_entropy(logits, one_hot, 0.0), cross_entropy)
    torch.testing.assert_close(generalized_cross_entropy(logits, one_hot, 1e-9), cross_entropy, rtol=1e-6, atol=1e-6)
    p = logits.softmax(1)[torch.arange(9), labels]
    torch.testing.assert_close(generalized_cross_entropy(logits, one_hot, 1.0), (1 - p).mean())


@pytest.mark.parametrize("q", [0.0, 0.01, 0.5, 1.0])
def test_gradient_is_finite_where_the_softmax_underflows(q: float) -> None:
    logits = torch.tensor([[0.0, 900.0, 0.0]], requires_grad=True)
    loss = generalized_cross_entropy(logits, torch.tensor([[1.0, 0.0, 0.0]]), q)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
def test_gradient_matches_finite_differences(q: float) -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [1, 1, 1, 0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: generalized_cross_entropy(x, targets, q), (logits,))


def test_log_probability_of_all_classes_is_certain_of_one() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64)
    mean = class_log_probability(logits, torch.ones(4, 3, dtype=torch.float64)).exp()
    torch.testing.assert_close(mean, torch.full((4,), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("q", [-0.1, 1.5, float("nan")])
def test_q_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="q must lie"):
        generalized_cross_entropy(torch.zeros(2, 2), torch.ones(2, 2), q)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        generalized_cross_entropy(torch.zeros(2, 2), torch.ones(2, 3), 0.5)


@given(seed=st.integers(0, 10**6), q=st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-6, 1.0)))
def test_q_may_be_a_tensor(seed: int, q: float) -> None:
    logits, targets = (tensor.double() for tensor in draw(seed, 5, 4))
    found, expected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = generalized_cross_entropy(found, targets, torch.tensor(q, dtype=torch.float64))
    number = generalized_cross_entropy(expected, targets, q)
    torch.testing.assert_close(value, number, rtol=1e-12, atol=1e-15)
    value.backward()
    number.backward()
    assert found.grad is not None
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("q", [0.0, 0.01, 1.0])
def test_a_tensor_q_keeps_gradients_finite_where_the_softmax_underflows(q: float) -> None:
    logits = torch.tensor([[0.0, 900.0, 0.0]], requires_grad=True)
    loss = generalized_cross_entropy(logits, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor(q))
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 6), q=st.floats(0.02, 1.0))
def test_samples_may_weigh_differently_and_the_mean_is_over_all(seed: int, batch: int, q: float) -> None:
    logits, targets = (tensor.double() for tensor in draw(seed, batch, 4))
    weights = torch.rand(batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    each = [literal(logits[row : row + 1], targets[row : row + 1], q) for row in range(batch)]
    expected = sum(w * loss for w, loss in zip(weights.tolist(), each, strict=True)) / batch
    found = generalized_cross_entropy(logits, targets, q, weights)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(
        generalized_cross_entropy(logits, targets, q, torch.ones(batch).double()),
        generalized_cross_entropy(logits, targets, q),
    )


def test_many_members_at_once_are_each_their_own() -> None:
    logits, targets = torch.randn(3, 5, 4, dtype=torch.float64), torch.rand(3, 5, 4, dtype=torch.float64)
    weights, q = torch.rand(3, 5, dtype=torch.float64), torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)

    def both(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradient, value = torch.func.grad_and_value(generalized_cross_entropy)(*inputs)
        return gradient, value

    gradients, values = torch.func.vmap(both)(logits, targets, q, weights)
    for member in range(3):
        gradient, value = both(logits[member], targets[member], q[member], weights[member])
        torch.testing.assert_close(values[member], value)
        torch.testing.assert_close(gradients[member], gradient)
