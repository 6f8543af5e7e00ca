from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from xfeat.heads import Branch


def literal(branch: Branch, row: list[float], masks: Mapping[str, list[float]] | None = None) -> list[float]:
    """The perceptron one number at a time, in float64; every mask multiplies what it is named after."""
    masks = masks or {}
    layers = [(branch.input, "input"), *([(branch.hidden, "hidden")] if branch.hidden else []), (branch.output, "")]
    values = [v * m for v, m in zip(row, masks.get("features", [1.0] * len(row)), strict=True)]
    lines = branch.skip.weight.double().tolist() if branch.skip else [[0.0] * len(row)] * branch.output.out_features
    straight = [sum(w * v for w, v in zip(line, values, strict=True)) for line in lines]
    for layer, name in layers:
        weight = layer.weight.double().tolist()
        bias = [0.0] * len(weight) if layer.bias is None else layer.bias.double().tolist()
        values = [
            sum(w * v for w, v in zip(line, values, strict=True)) + b for line, b in zip(weight, bias, strict=True)
        ]
        if name:
            mask = masks.get(name, [1.0] * len(values))
            values = [max(0.0, v) * m for v, m in zip(values, mask, strict=True)]
    values = [v + s for v, s in zip(values, straight, strict=True)]
    length = sum(v * v for v in values) ** 0.5
    return [v / length for v in values]


def literal_rows(branch: Branch, features: Tensor, masks: Mapping[str, Tensor] | None = None) -> Tensor:
    by_row = [
        {name: mask[row].double().tolist() for name, mask in (masks or {}).items()} for row in range(len(features))
    ]
    rows = zip(features.double().tolist(), by_row, strict=True)
    return torch.tensor([literal(branch, row, mask) for row, mask in rows], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [0.0, 4.0])
@pytest.mark.parametrize("skip", [False, True])
def test_equals_the_literal_network(layers: int, bias: float, skip: bool) -> None:
    torch.manual_seed(0)
    branch = Branch(5, 7, 4, layers=layers, bias_length=bias, skip=skip)
    if branch.skip:
        torch.nn.init.normal_(branch.skip.weight)
    features = torch.randn(3, 5)
    torch.testing.assert_close(branch(features).double(), literal_rows(branch, features), atol=1e-6, rtol=1e-5)
    exact = branch.double()
    torch.testing.assert_close(exact(features.double()), literal_rows(branch, features), atol=1e-12, rtol=1e-12)


def test_the_skip_starts_at_zero_and_learns() -> None:
    torch.manual_seed(2)
    with_skip = Branch(5, 9, 4, skip=True)
    assert with_skip.skip is not None
    assert not with_skip.skip.weight.any()
    x = torch.randn(3, 5)
    with_skip(x).sum().backward()
    assert with_skip.skip.weight.grad is not None
    assert with_skip.skip.weight.grad.any()


@pytest.mark.parametrize(("dropout", "input_dropout"), [(0.5, 0.0), (0.0, 0.3), (0.25, 0.2)])
def test_masks_act_where_they_are_named(dropout: float, input_dropout: float) -> None:
    torch.manual_seed(1)
    branch = Branch(5, 9, 4, dropout=dropout, input_dropout=input_dropout).double()
    features = torch.randn(6, 5, dtype=torch.float64)
    masks = branch.masks(6, generator(3))
    assert all((mask == 0).any() for mask in masks.values())
    found = branch(features, masks)
    torch.testing.assert_close(found, literal_rows(branch, features, masks), atol=1e-12, rtol=1e-12)
    assert not torch.equal(found, branch(features))


def test_there_is_a_mask_for_every_layer_that_drops() -> None:
    both = Branch(5, 9, 4, dropout=0.5, input_dropout=0.2).masks(6, generator())
    assert {name: tuple(mask.shape) for name, mask in both.items()} == {
        "features": (6, 5),
        "input": (6, 9),
        "hidden": (6, 9),
    }
    assert both["features"].max() == torch.tensor(256 / (256 - round(0.2 * 256)))
    assert both["input"].max() == both["hidden"].max() == 2
    assert not torch.equal(both["input"], both["hidden"])
    assert set(Branch(5, 9, 4, dropout=0.5).masks(6, generator())) == {"input", "hidden"}
    assert set(Branch(5, 9, 4, input_dropout=0.5).masks(6, generator())) == {"features"}
    assert Branch(5, 9, 4).masks(6, generator()) == {}


def test_one_layer_has_one_mask() -> None:
    one = Branch(5, 9, 4, dropout=0.5, input_dropout=0.2, layers=1)
    assert one.hidden is None
    assert set(one.masks(6, generator())) == {"features", "input"}


def test_the_bias_starts_with_its_length_in_a_random_direction() -> None:
    torch.manual_seed(2)
    first, second = (Branch(5, 9, 40, bias_length=4.0).output.bias for _ in range(2))
    assert first.norm().item() == pytest.approx(4, rel=1e-6)
    assert abs(torch.cosine_similarity(first, second, dim=0).item()) < 0.6
    assert Branch(5, 9, 40).output.bias is None


def test_with_a_bias_the_length_of_a_row_shows() -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 5)
    for bias, same in ((0.0, True), (4.0, False)):
        branch = Branch(5, 9, 4, layers=1, bias_length=bias)
        torch.nn.init.zeros_(branch.input.bias)
        assert torch.allclose(branch(x), branch(3 * x), atol=1e-6) is same


@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_layer_starts_uniform_within_its_bound(layers: int) -> None:
    torch.manual_seed(2)
    weight = Branch(16, 300, 200, layers=layers, bias_length=2.0 * (layers == 1)).output.weight
    assert weight.abs().max() <= 0.25
    assert weight.abs().max() > 0.249
    assert weight.mean().abs() < 0.002
    assert weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.01)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_a_function_of_its_inputs_in_either_mode(training: bool) -> None:
    branch = Branch(6, 50, 8, dropout=0.5, input_dropout=0.2).train(training)
    features, masks = torch.randn(4, 6), branch.masks(4, generator())
    before = torch.get_rng_state()
    assert torch.equal(branch(features), branch(features))
    assert torch.equal(branch(features, masks), branch(features, masks))
    assert torch.equal(branch(features, {}), branch(features))
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_repeat_with_their_generator_and_differ_with_another() -> None:
    branch = Branch(6, 50, 8, dropout=0.5)
    first, again, other = (branch.masks(4, generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_bfloat16_gives_unit_rows_in_float32_near_those_of_float32() -> None:
    torch.manual_seed(3)
    branch = Branch(20, 64, 16, dropout=0.5)
    features, masks = torch.randn(30, 20), branch.masks(30, generator())
    with torch.autocast("cpu", torch.bfloat16):
        found = branch(features, masks)
    expected = branch(features, masks)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(30), atol=1e-6, rtol=0)
    assert not torch.equal(found, expected)
    # bfloat16 keeps 8 bits: 2^-8 each in three layers, averaged over many terms.
    assert (found - expected).abs().max() < 0.02
    assert (found * expected).sum(1).min() > 0.999


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(4)
    branch = Branch(5, 16, 4, dropout=0.5, input_dropout=0.2).double()
    features = torch.randn(8, 5, dtype=torch.float64)
    masks = branch.masks(8, generator())
    for given in (None, masks):
        assert torch.autograd.gradcheck(lambda x, given=given: branch(x, given), (features.requires_grad_(),))
        branch.zero_grad()
        branch(features, given)[:, 0].sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in branch.parameters())
