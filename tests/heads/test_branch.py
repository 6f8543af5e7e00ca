import pytest
import torch

from xfeat.heads import Branch


def literal(branch: Branch, row: list[float]) -> list[float]:
    """The perceptron one number at a time, in float64."""
    layers = [(branch.input, True), (branch.hidden, True), (branch.output, False)]
    values = row
    for layer, relu in layers:
        weight = layer.weight.double().tolist()
        bias = [0.0] * len(weight) if layer.bias is None else layer.bias.double().tolist()
        values = [
            sum(w * v for w, v in zip(line, values, strict=True)) + b for line, b in zip(weight, bias, strict=True)
        ]
        values = [max(0.0, v) for v in values] if relu else values
    length = sum(v * v for v in values) ** 0.5
    return [v / length for v in values]


def test_equals_the_literal_network() -> None:
    branch = Branch(5, 7, 4).eval()
    features = torch.randn(3, 5)
    expected = torch.tensor([literal(branch, row) for row in features.double().tolist()], dtype=torch.float64)
    torch.testing.assert_close(branch(features).double(), expected, atol=1e-6, rtol=1e-5)


def test_the_last_layer_starts_uniform_within_its_bound() -> None:
    weight = Branch(16, 300, 200).output.weight
    assert weight.abs().max() <= 0.25
    assert weight.abs().max() > 0.249
    assert weight.mean().abs() < 0.002
    assert weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.01)


def test_dropout_acts_in_training_only() -> None:
    branch = Branch(6, 50, 8, dropout=0.5, input_dropout=0.2)
    features = torch.randn(4, 6)
    assert not torch.equal(branch(features), branch(features))
    branch.eval()
    assert torch.equal(branch(features), branch(features))


def test_gradients_reach_every_parameter() -> None:
    branch = Branch(5, 16, 4).double()
    features = torch.randn(8, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: branch(x), (features.requires_grad_(),))
    branch(features)[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in branch.parameters())
