import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from tests.heads.test_gated import literal as literal_gated
from tests.heads.test_token_transformer import layer_norm
from tests.heads.test_token_transformer import literal as literal_blocks
from xfeat.heads import GatedBranch


def unit(values: Tensor) -> Tensor:
    return values / math.sqrt(sum(v * v for v in values.tolist()))


def literal(branch: GatedBranch, tokens: Tensor, drop: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One sample's tokens (T, D) to its two embeddings, token by token, in float64."""
    gated = [torch.tensor(literal_gated(branch.embed, t.tolist()), dtype=torch.float64) for t in tokens]
    normed = torch.stack([layer_norm(t, branch.norm.weight, branch.norm.bias) for t in gated])
    anchor = (tokens if branch.raw_input else normed).sum(dim=0) / len(tokens)
    pooled = literal_blocks(branch.transformer, normed).sum(dim=0) / len(tokens)
    pooled = pooled if drop is None else pooled * drop
    joint = torch.tensor(literal_gated(branch.project, pooled.tolist()), dtype=torch.float64)
    return unit(anchor), unit(joint)


def a_branch(depth: int = 0, raw_input: bool = False, dropout: float = 0.0) -> GatedBranch:
    torch.manual_seed(0)
    branch = GatedBranch(5, 6, 4, depth=depth, heads=3, dropout=dropout, raw_input=raw_input).double()
    for p in branch.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return branch


LENGTHS = (3, 5, 1)


def a_batch(padding: float = math.nan) -> tuple[Tensor, Tensor]:
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    torch.manual_seed(1)
    return torch.randn(3, 5, 5, dtype=torch.float64).where(mask[..., None], torch.tensor(padding)), mask


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("raw_input", [False, True])
def test_equals_the_literal_branch(depth: int, raw_input: bool) -> None:
    branch = a_branch(depth, raw_input, dropout=0.5)
    x, mask = a_batch()
    drop = branch.masks(3, torch.Generator().manual_seed(3))
    assert drop is not None
    for given in (None, drop):
        found = branch(x, mask, given)
        assert found.input.shape == (3, branch.input_width)
        for row, length in enumerate(LENGTHS):
            d = None if given is None else given[row].double()
            anchor, joint = literal(branch, x[row, :length], d)
            torch.testing.assert_close(found.input[row], anchor, atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(found.joint[row], joint, atol=1e-10, rtol=1e-10)
    assert branch.input_width == (5 if raw_input else 6)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_pooled_vector_is_one_token(depth: int) -> None:
    branch = a_branch(depth)
    x = torch.randn(4, 5, dtype=torch.float64)
    pooled, tokens = branch(x), branch(x[:, None])
    masked = branch(x[:, None], torch.ones(4, 1, dtype=torch.bool))
    for other in (tokens, masked):
        torch.testing.assert_close(pooled.input, other.input, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(pooled.joint, other.joint, atol=1e-12, rtol=1e-12)
    with pytest.raises(ValueError, match="take no mask"):
        branch(x, torch.ones(4, 1, dtype=torch.bool))


@pytest.mark.parametrize("raw_input", [False, True])
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_padding_changes_nothing_not_even_a_gradient(garbage: float, raw_input: bool) -> None:
    results = []
    for padding in (0.0, garbage):
        branch = a_branch(1, raw_input)
        found = branch(*a_batch(padding))
        (found.input[:, 0].sum() + found.joint[:, 0].sum()).backward()
        results.append([found.input.detach(), found.joint.detach(), *(p.grad for p in branch.parameters())])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_the_order_of_the_tokens_changes_nothing() -> None:
    branch = a_branch(2)
    x, mask = a_batch()
    order = torch.tensor([3, 0, 4, 1, 2])
    one, two = branch(x, mask), branch(x[:, order], mask[:, order])
    torch.testing.assert_close(one.input, two.input, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(one.joint, two.joint, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("raw_input", [False, True])
def test_rows_without_tokens_and_rows_of_zeros_have_finite_gradients(raw_input: bool) -> None:
    branch = a_branch(1, raw_input)
    x, mask = a_batch()
    mask[0] = False
    x[2] = 0
    x.requires_grad_()
    found = branch(x, mask)
    assert not found.input[0].any()
    (found.input.sum() + found.joint.sum()).backward()
    assert found.joint.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[0].any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in branch.parameters())


@pytest.mark.parametrize("depth", [0, 1])
def test_gradients_reach_every_parameter(depth: int) -> None:
    branch = a_branch(depth)
    x, mask = a_batch(padding=0.5)
    inputs = (x.requires_grad_(), *branch.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: tuple(vars(branch(x, mask)).values()), inputs)
    branch.zero_grad()
    found = branch(x, mask)
    (found.input[:, 0].sum() + found.joint[:, 0].sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in branch.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_a_function_of_its_inputs_in_either_mode(training: bool) -> None:
    branch = a_branch(1, dropout=0.5).train(training)
    x, mask = a_batch()
    first, again, other = (branch.masks(3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first is not None
    assert first.shape == (3, 6)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    before = torch.get_rng_state()
    assert torch.equal(branch(x, mask, first).joint, branch(x, mask, first).joint)
    assert not torch.equal(branch(x, mask, first).joint, branch(x, mask).joint)
    assert torch.equal(branch(x, mask, first).input, branch(x, mask).input)
    assert torch.equal(torch.get_rng_state(), before)
    assert a_branch().masks(3, torch.Generator()) is None


def test_bfloat16_gives_unit_rows_in_float32() -> None:
    branch = a_branch(1).float()
    x, mask = a_batch(padding=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = branch(x.float(), mask)
    for rows in (found.input, found.joint):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)


def test_stacked_networks_are_the_single_ones() -> None:
    branch = a_branch(1)
    x, mask = a_batch()
    state = {name: torch.stack([p, p + 0.1]) for name, p in branch.named_parameters()}
    found = vmap(lambda weights: functional_call(branch, weights, (x, mask)).joint)(state)
    for i in range(2):
        expected = functional_call(branch, {name: p[i] for name, p in state.items()}, (x, mask)).joint
        torch.testing.assert_close(found[i], expected, atol=1e-10, rtol=1e-10)
