import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from xfeat.heads import TokenTransformer, masked_mean


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-6).sqrt() * weight + bias


def literal(model: TokenTransformer, tokens: Tensor, drop: Tensor | None = None) -> Tensor:
    """The blocks over one row's tokens (T, D) without padding, attention one query and one head at a time."""
    x = tokens.clone()
    if drop is None:
        drop = torch.ones(2 * len(model.blocks), model.dim, dtype=x.dtype)
    for i, block in enumerate(model.blocks):
        width = model.dim // block.heads
        normed = torch.stack([layer_norm(t, block.norm1.weight, block.norm1.bias) for t in x])
        q, k, v = (normed @ block.qkv.weight.T + block.qkv.bias).split(model.dim, dim=1)
        attended = torch.zeros_like(x)
        for head in range(block.heads):
            part = slice(head * width, (head + 1) * width)
            for query in range(len(x)):
                scores = [math.exp((q[query, part] @ key).item() / math.sqrt(width)) for key in k[:, part]]
                for score, value in zip(scores, v[:, part], strict=True):
                    attended[query, part] += score / sum(scores) * value
        x = x + (attended @ block.out.weight.T + block.out.bias) * drop[2 * i]
        normed = torch.stack([layer_norm(t, block.norm2.weight, block.norm2.bias) for t in x])
        hidden = normed @ block.fc1.weight.T + block.fc1.bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        x = x + (hidden @ block.fc2.weight.T + block.fc2.bias) * drop[2 * i + 1]
    if model.norm is None:
        return x
    return torch.stack([layer_norm(t, model.norm.weight, model.norm.bias) for t in x])


def a_model(depth: int = 2, dim: int = 6, heads: int = 3, **more: float) -> TokenTransformer:
    torch.manual_seed(0)
    model = TokenTransformer(dim, depth, heads, **more).double()
    for p in model.parameters():  # norms too, whose weights start at 1 and whose biases at 0
        torch.nn.init.normal_(p, std=0.5)
    return model


LENGTHS = (3, 5, 1)


def a_batch(dim: int = 6, padding: float = math.nan) -> tuple[Tensor, Tensor]:
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    torch.manual_seed(1)
    return torch.randn(3, 5, dim, dtype=torch.float64).where(mask[..., None], torch.tensor(padding)), mask


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_ragged_batch_equals_the_literal_blocks_row_by_row(depth: int) -> None:
    model = a_model(depth)
    tokens, mask = a_batch()
    found = model(tokens, mask)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row, :length], literal(model, tokens[row, :length]), atol=1e-10, rtol=1e-10)
        assert not found[row, length:].any()


def test_without_a_mask_every_token_counts() -> None:
    model = a_model()
    tokens, _ = a_batch(padding=0.5)
    torch.testing.assert_close(model(tokens), model(tokens, torch.ones(3, 5, dtype=torch.bool)), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(model(tokens)[0], literal(model, tokens[0]), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_padding_changes_nothing_not_even_a_gradient(garbage: float) -> None:
    results = []
    for padding in (0.0, garbage):
        model = a_model()
        tokens, mask = a_batch(padding=padding)
        tokens.requires_grad_()
        pooled = masked_mean(model(tokens, mask), mask)
        pooled.square().sum().backward()
        grads = [tokens.grad, *(p.grad for p in model.parameters())]
        results.append([pooled.detach(), *(g for g in grads if g is not None)])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_the_order_of_the_tokens_goes_through() -> None:
    model = a_model()
    tokens, _ = a_batch(padding=0.5)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(model(tokens[:, order]), model(tokens)[:, order], atol=1e-10, rtol=1e-10)


def test_a_row_without_any_token_is_zeros_with_finite_gradients() -> None:
    model = a_model()
    tokens, mask = a_batch()
    mask[1] = False
    tokens.requires_grad_()
    found = model(tokens, mask)
    assert not found[1].any()
    masked_mean(found, mask).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()
    assert not tokens.grad[1].any()


def test_masked_mean() -> None:
    tokens, mask = a_batch()
    mask[1] = False
    tokens.requires_grad_()
    found = masked_mean(tokens, mask)
    for row, length in enumerate((3, 0, 1)):
        for column in range(6):
            total = sum(float(tokens[row, t, column].detach()) for t in range(length))
            assert found[row, column].item() == pytest.approx(total / max(1, length), rel=1e-12)
    found.sum().backward()
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad[0, :, 0], torch.tensor([1, 1, 1, 0, 0], dtype=torch.float64) / 3)
    assert not tokens.grad[1].any()
    whole = torch.randn(2, 3, 4)
    torch.testing.assert_close(masked_mean(whole, None), masked_mean(whole, torch.ones(2, 3, dtype=torch.bool)))


def test_gradients() -> None:
    model = a_model(1, 4, 2)
    tokens, mask = a_batch(4, padding=0.5)
    assert torch.autograd.gradcheck(lambda x, *_: model(x, mask), (tokens.requires_grad_(), *model.parameters()))


def test_dropout_acts_where_its_masks_are() -> None:
    model = a_model(2, dropout=0.5)
    drop = model.masks(3, torch.Generator().manual_seed(0))
    assert drop is not None
    assert drop.shape == (3, 4, 6)
    assert set(drop.flatten().tolist()) == {0.0, 2.0}
    tokens, mask = a_batch()
    found = model(tokens, mask, drop)
    for row, length in enumerate(LENGTHS):
        expected = literal(model, tokens[row, :length], drop[row].double())
        torch.testing.assert_close(found[row, :length], expected, atol=1e-10, rtol=1e-10)
    assert torch.equal(model(tokens, mask), a_model(2)(tokens, mask))
    assert a_model(2).masks(3, torch.Generator()) is None
    assert a_model(0, dropout=0.5).masks(3, torch.Generator()) is None


def test_stacked_networks_are_the_single_ones() -> None:
    model = a_model()
    tokens, mask = a_batch()
    state = {name: torch.stack([p, p + 0.1]) for name, p in model.named_parameters()}
    found = vmap(lambda weights: functional_call(model, weights, (tokens, mask)))(state)
    for i in range(2):
        expected = functional_call(model, {name: p[i] for name, p in state.items()}, (tokens, mask))
        torch.testing.assert_close(found[i], expected, atol=1e-10, rtol=1e-10)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="4 attention heads do not divide a width of 6"):
        TokenTransformer(6, 1, 4)
