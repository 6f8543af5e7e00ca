import math

import torch

from xfeat.heads import GatedEmbeddingUnit


def literal(unit: GatedEmbeddingUnit, row: list[float]) -> list[float]:
    """The unit one number at a time, in float64."""
    a, bias_a = unit.linear.weight.double().tolist(), unit.linear.bias.double().tolist()
    b, bias_b = unit.gate.weight.double().tolist(), unit.gate.bias.double().tolist()
    u = [sum(w * x for w, x in zip(line, row, strict=True)) + c for line, c in zip(a, bias_a, strict=True)]
    gate = [sum(w * x for w, x in zip(line, u, strict=True)) + c for line, c in zip(b, bias_b, strict=True)]
    return [x / (1 + math.exp(-g)) for x, g in zip(u, gate, strict=True)]


def test_equals_the_literal_unit() -> None:
    torch.manual_seed(0)
    unit = GatedEmbeddingUnit(5, 3)
    x = torch.randn(4, 5)
    expected = torch.tensor([literal(unit, row) for row in x.double().tolist()], dtype=torch.float64)
    torch.testing.assert_close(unit(x).double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(unit.double()(x.double()), expected, atol=1e-12, rtol=1e-12)


def test_any_leading_shape_is_row_by_row() -> None:
    torch.manual_seed(1)
    unit = GatedEmbeddingUnit(5, 3).double()
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(unit(x)[1, 2], unit(x[1, 2]), atol=1e-14, rtol=1e-12)


def test_gradients() -> None:
    torch.manual_seed(2)
    unit = GatedEmbeddingUnit(4, 3).double()
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: unit(x), (x, *unit.parameters()))
