"""Oracles: the loop over modalities and their rows in float64, and torch's cross-entropy of balanced batches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from xfeat.losses import reverse_gradient, separation

Batch = tuple[Tensor, Tensor, Tensor]


def literal(logits: Tensor, modality: Tensor) -> float:
    means = []
    for m in sorted(set(modality.tolist())):
        rows = [row for row, own in zip(logits.double().tolist(), modality.tolist(), strict=True) if own == m]
        each = [math.log(sum(math.exp(x - max(row)) for x in row)) + max(row) - row[m] for row in rows]
        means.append(sum(each) / len(each))
    return sum(means) / len(means) if means else 0.0


def drawn(seed: int, rows: int, modalities: int, spread: float) -> Batch:
    g = torch.Generator().manual_seed(seed)
    causal, bias = (torch.randn(rows, modalities, generator=g, dtype=torch.float64) * spread for _ in range(2))
    return causal, bias, torch.randint(modalities, (rows,), generator=g)


BATCHES = st.builds(drawn, st.integers(0, 10**6), st.integers(0, 9), st.integers(1, 4), st.floats(0.1, 30))


@given(batch=BATCHES)
def test_equals_the_loop(batch: Batch) -> None:
    causal, bias, modality = batch
    found = separation(*batch)
    single = separation(causal.float(), bias.float(), modality)
    for logits, ours, in_single in zip((causal, bias), found, single, strict=True):
        expected = literal(logits, modality)
        assert ours.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert ours >= 0
        assert in_single.dtype == torch.float32
        assert in_single.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(seed=st.integers(0, 10**6), each=st.integers(1, 4), modalities=st.integers(1, 4))
def test_equals_plain_cross_entropy_where_modalities_are_equally_frequent(
    seed: int, each: int, modalities: int
) -> None:
    causal, bias, _ = drawn(seed, each * modalities, modalities, 2.0)
    modality = torch.arange(modalities).repeat(each)
    found = separation(causal, bias, modality)
    torch.testing.assert_close(found.causal, cross_entropy(causal, modality))
    torch.testing.assert_close(found.bias, cross_entropy(bias, modality))


@given(batch=BATCHES, times=st.integers(2, 4))
def test_rows_of_a_frequent_modality_do_not_count_for_more(batch: Batch, times: int) -> None:
    repeats = torch.where(batch[2] == 0, times, 1)
    again = separation(*(part.repeat_interleave(repeats, dim=0) for part in batch))
    for found, expected in zip(again, separation(*batch), strict=True):
        torch.testing.assert_close(found, expected)


def test_gradients_match_finite_differences() -> None:
    causal, bias, modality = drawn(5, 6, 3, 1.0)
    assert torch.autograd.gradcheck(
        lambda c, b: separation(c, b, modality), (causal.requires_grad_(), bias.requires_grad_())
    )


@given(batch=BATCHES, seed=st.integers(0, 10**6))
def test_rows_and_modalities_have_no_order(batch: Batch, seed: int) -> None:
    causal, bias, modality = batch
    g = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(n, generator=g) for n in causal.shape)
    again = separation(causal[rows][:, columns], bias[rows][:, columns], columns.argsort()[modality[rows]])
    for found, expected in zip(again, separation(*batch), strict=True):
        torch.testing.assert_close(found, expected)


@given(batch=BATCHES)
def test_a_shift_of_all_logits_of_a_row_does_not_matter(batch: Batch) -> None:
    causal, bias, modality = batch
    shift = torch.arange(len(causal), dtype=torch.float64)[:, None]
    again = separation(causal + shift, bias - shift, modality)
    for found, expected in zip(again, separation(*batch), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("modalities", [1, 2, 5])
def test_its_value_at_chance_and_when_told_for_sure(modalities: int) -> None:
    modality = torch.arange(10) % modalities
    sure = 1e3 * torch.eye(modalities)[modality]
    found = separation(torch.zeros(10, modalities), sure, modality)
    assert found.causal.item() == pytest.approx(math.log(modalities), abs=1e-6)
    assert found.bias.item() == 0


def test_a_modality_that_is_not_in_the_batch_does_not_count() -> None:
    logits, modality = torch.zeros(3, 2), torch.tensor([1, 1, 1])
    assert separation(logits, logits, modality).causal.item() == pytest.approx(math.log(2))


def test_each_part_gets_its_own_gradient_and_reversal_turns_that_of_the_causal_part() -> None:
    causal, bias, modality = drawn(7, 8, 2, 1.0)
    plain = separation(causal.requires_grad_(), bias.requires_grad_(), modality)
    assert torch.autograd.grad(plain.causal, bias, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(plain.bias, causal, retain_graph=True, allow_unused=True) == (None,)
    turned = separation(reverse_gradient(causal, 0.5), bias, modality)
    torch.testing.assert_close(turned.causal, plain.causal)
    expected = -0.5 * torch.autograd.grad(plain.causal, causal)[0]
    torch.testing.assert_close(torch.autograd.grad(turned.causal, causal)[0], expected)


def test_gradient_is_finite_at_extremes() -> None:
    causal = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    found = separation(causal, -causal, torch.tensor([0, 1]))
    assert torch.isfinite(torch.autograd.grad(found.causal + found.bias, causal)[0]).all()


@pytest.mark.parametrize(
    ("causal", "bias", "modality"),
    [
        ((4,), (4,), (4,)),
        ((4, 2), (4, 3), (4,)),
        ((4, 2), (3, 2), (4,)),
        ((4, 2), (4, 2), (3,)),
        ((4, 2), (4, 2), (4, 2)),
    ],
)
def test_shapes_must_fit_together(causal: tuple[int, ...], bias: tuple[int, ...], modality: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        separation(torch.zeros(causal), torch.zeros(bias), torch.zeros(modality, dtype=torch.long))
