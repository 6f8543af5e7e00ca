"""The shared head, one number at a time in float64, and what an intervention must not depend on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads.causal import CausalHead, adjusted

DIM, HIDDEN, MODALITIES = 4, 5, 3


def made(seed: int = 0, *, intervention: bool = True, hidden: int = HIDDEN) -> CausalHead:
    """A head whose every parameter and statistic is random."""
    torch.manual_seed(seed)
    head = CausalHead(DIM, hidden, MODALITIES, intervention=intervention).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    for place in range(MODALITIES):
        head.bank.update(place, torch.randn(6, DIM, dtype=torch.float64))
    return head


def rows(seed: int, count: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=g, dtype=torch.float64)


CENTRE = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=torch.float64)


def linear(layer: nn.Linear, x: list[float]) -> list[float]:
    return [
        sum(w * value for w, value in zip(weights, x, strict=True)) + bias
        for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def unit(x: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in x))
    return [value / length for value in x]


def literal_reconstruction(head: CausalHead, x: list[float]) -> list[float]:
    if head.reconstructor is None:
        return unit(x)
    first, _, last = head.reconstructor
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    back = linear(last, [max(0.0, value) for value in linear(first, x)])
    return unit([a + b for a, b in zip(x, back, strict=True)])


def literal(head: CausalHead, z: list[float]) -> list[float]:
    refined = [a + b for a, b in zip(z, linear(head.refinement, z), strict=True)]
    gate = [1 / (1 + math.exp(-value)) for value in head.gate.tolist()]
    causal = [g * (value - middle) for g, value, middle in zip(gate, refined, CENTRE.tolist(), strict=True)]
    total = [0.0] * DIM
    for bias in head.bank.mean.tolist():
        x = [c + b for c, b in zip(causal, bias, strict=True)]
        e = literal_reconstruction(head, x)
        total = [t + value / MODALITIES for t, value in zip(total, e, strict=True)]
    return unit(total)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 4), hidden=st.sampled_from([0, HIDDEN]))
def test_the_adjusted_embedding_is_the_formula(seed: int, count: int, hidden: int) -> None:
    head, z = made(seed, hidden=hidden), rows(seed, count)
    expected = [literal(head, row) for row in z.tolist()]
    torch.testing.assert_close(head(z, CENTRE), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    single = head.float()(z.float(), CENTRE.float())
    torch.testing.assert_close(single, torch.tensor(expected), rtol=1e-3, atol=1e-4)


@given(seed=st.integers(0, 10**6))
def test_the_parts_sum_to_the_row_but_for_what_the_gate_lets_through_of_the_centre(seed: int) -> None:
    head = made(seed)
    refined = head.refine(rows(seed, 3))
    parts = head.split(refined, CENTRE)
    torch.testing.assert_close(parts.causal + parts.bias, refined - head.gate.sigmoid() * CENTRE)


def test_what_all_rows_have_in_common_is_no_part_of_the_cause() -> None:
    """Rows that a modality shifts by one vector have the causal parts that they had; the gate has no say in it."""
    head, shift = made(), torch.tensor([3.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    refined = head.refine(rows(1, 5))
    before, after = (head.split(x, x.mean(0)) for x in (refined, refined + shift))
    torch.testing.assert_close(before.causal, after.causal)
    torch.testing.assert_close(before.causal.mean(0), torch.zeros(DIM, dtype=torch.float64))
    torch.testing.assert_close(after.bias, before.bias + (1 - head.gate.sigmoid()) * shift)


def test_a_row_is_embedded_the_same_in_any_company() -> None:
    head, z = made(), rows(1, 6)
    torch.testing.assert_close(head(z, CENTRE)[2:4], head(z[2:4], CENTRE))


def test_an_intervention_puts_the_given_bias_in_the_place_of_the_rows_own() -> None:
    """Rows of one causal part and different biases of their own end in one place."""
    head = made()
    causal = torch.randn(1, DIM, dtype=torch.float64).expand(3, DIM)
    e = head.intervene(causal, head.bank.means())
    assert e.shape == (MODALITIES, 3, DIM)
    torch.testing.assert_close(e[:, 0], e[:, 2])
    torch.testing.assert_close(adjusted(e), normalize(e.mean(0), dim=1))


@pytest.mark.parametrize("hidden", [0, HIDDEN])
def test_without_intervention_the_refined_row_is_reconstructed(hidden: int) -> None:
    head, z = made(intervention=False, hidden=hidden), rows(2, 3)
    expected = [literal_reconstruction(head, row) for row in (z + head.refinement(z)).tolist()]
    torch.testing.assert_close(head(z, CENTRE), torch.tensor(expected, dtype=torch.float64))


def test_it_starts_with_no_refinement() -> None:
    torch.manual_seed(0)
    head, z = CausalHead(DIM, 0, 2, intervention=False).double(), rows(3, 4)
    assert torch.equal(head.refine(z), z)
    torch.testing.assert_close(head(z, CENTRE), normalize(z, dim=1))
    assert (head.gate == head.gate[0]).all(), "no dimension is told from another"


@pytest.mark.parametrize("intervention", [True, False])
def test_gradients_match_finite_differences(intervention: bool) -> None:
    head = made(4, intervention=intervention)
    assert torch.autograd.gradcheck(head, (rows(5, 3).requires_grad_(), CENTRE.clone().requires_grad_(intervention)))
