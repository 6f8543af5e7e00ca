"""The network and every part of the loss against their literal forms, and what each part does to what."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.methods.ciim_building import (
    KNOWN,
    NAMES,
    OUT,
    SAMPLE_WISE,
    WEIGHTS,
    WIDTHS,
    a_batch,
    a_network,
    a_setting,
    rows_of,
    some_noise,
)
from tests.methods.ciim_oracle import literal_parts, literal_rows
from xfeat.methods.ciim import CiimNetwork, Labelled, loss_parts, weighted

Q = torch.tensor(0.6, dtype=torch.float64)


def parts_of(network: CiimNetwork, batch: list[Labelled], noise: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    noise = some_noise(network, 8) if noise is None else noise
    return loss_parts(network, network(batch, noise), Q)


def gradients(loss: Tensor, network: CiimNetwork) -> dict[str, Tensor]:
    named = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {name: torch.zeros(p.shape) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


CASES: list[tuple[tuple[str, ...], dict[str, Any], tuple[int, ...]]] = [
    (("image", "text"), {}, (0, 1)),
    (("image", "text"), {"within": 0.0, "skip": True}, (0, 1, 2, 3)),  # each lacks a class
    (NAMES, {}, (0, 1, 2, 3)),
    (NAMES, {"epsilon": 0.0, "margin": 0.0, "scale": 20.0}, (1, 2)),
    (NAMES, {}, (0, 3)),  # no row of audio
    (NAMES, {"interventions": 2}, (0, 1, 3)),
    (NAMES, {"interventions": None, "reconstructor": 0}, (0, 1)),
    (NAMES, {"intervention": False}, (0, 3)),
    (("image", "text"), {"intervention": False, "within": 1.0, "reconstructor": 0}, (0, 1, 3)),
]


@pytest.mark.parametrize(("names", "changes", "classes"), CASES)
def test_outputs_are_the_literal_form(
    names: tuple[str, ...], changes: dict[str, Any], classes: tuple[int, ...]
) -> None:
    network, batch = a_network(names, **changes), a_batch(classes, names)
    noise = some_noise(network, 8)
    out, expected = network(batch, noise), literal_rows(network, batch, noise)
    assert out.labels.tolist() == [row.label for row in expected]
    assert out.modality.tolist() == [row.place for row in expected]
    assert list(out.counts) == [len(one.labels) for one in batch]
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(out.embedding, torch.stack([row.embedding for row in expected]), **close)
    if not network.settings.intervention:
        assert (out.parts, out.interventions, out.means) == (None, None, ())
        return
    assert out.parts is not None
    assert out.interventions is not None
    torch.testing.assert_close(out.parts.causal, torch.stack([row.causal for row in expected]), **close)
    torch.testing.assert_close(out.parts.bias, torch.stack([row.bias for row in expected]), **close)
    under = torch.stack([torch.stack(row.under) for row in expected], dim=1)
    torch.testing.assert_close(out.interventions, under, **close)
    for place, middle in enumerate(out.means):
        own = [row.refined for row in expected if row.place == place]
        torch.testing.assert_close(middle, sum(own, torch.zeros(OUT).double()) / max(1, len(own)), **close)


@pytest.mark.parametrize(("names", "changes", "classes"), CASES)
def test_every_part_and_its_gradient_is_the_literal_form(
    names: tuple[str, ...], changes: dict[str, Any], classes: tuple[int, ...]
) -> None:
    network, batch = a_network(names, **changes), a_batch(classes, names)
    noise = some_noise(network, 8)
    found = parts_of(network, batch, noise)
    expected = literal_parts(network, batch, noise, float(Q))
    assert found.keys() == expected.keys()
    assert set(found) == (set(WEIGHTS) if network.settings.intervention else set(SAMPLE_WISE))
    for name, value in expected.items():
        assert value > 0, name
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
        one, two = gradients(found[name], network), gradients(value, network)
        assert any(gradient.any() for gradient in two.values()), name
        for parameter, gradient in two.items():
            torch.testing.assert_close(one[parameter].double(), gradient.double(), rtol=1e-7, atol=1e-9)


def test_together_they_reach_every_parameter() -> None:
    network = a_network()
    loss = weighted(parts_of(network, a_batch((0, 1, 2, 3))), network.settings)
    found = gradients(loss, network)
    for name, gradient in found.items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.any(), name
    assert found["single"][~KNOWN].eq(0).all()
    assert found["single"][KNOWN].any(dim=1).all()
    assert found["hybrid"].any(dim=1).tolist() == [True] * 4 + [False]


def test_the_loss_is_the_sum_of_the_parts_by_their_weights() -> None:
    network = a_network()
    found = {name: value.item() for name, value in parts_of(network, a_batch((0, 1, 2))).items()}
    expected = sum(weight * found[name] for name, weight in WEIGHTS.items())
    loss = weighted(parts_of(network, a_batch((0, 1, 2))), network.settings)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_a_switch_removes_its_part_and_a_weight_scales_it(name: str) -> None:
    batch = a_batch((0, 1, 2))
    all_of_them = parts_of(a_network(), batch)
    without = parts_of(a_network(**{name: 0.0}), batch)
    # Two kinds of proxies are needed for them to meet.
    gone = {name, "interaction"} if name in ("single", "hybrid") else {name}
    assert set(all_of_them) - set(without) == gone
    for other, value in without.items():
        torch.testing.assert_close(value, all_of_them[other], rtol=0, atol=0)
    network = a_network(**{name: 3 * WEIGHTS[name]})
    tripled = parts_of(network, batch)
    difference = weighted(tripled, network.settings) - weighted(all_of_them, a_setting())
    torch.testing.assert_close(difference, 2 * WEIGHTS[name] * all_of_them[name])


def test_without_intervention_the_refined_row_is_reconstructed_and_the_properties_are_gone() -> None:
    network, batch = a_network(intervention=False), a_batch((0, 1, 2))
    out = network(batch, {})
    z = torch.cat([branch(one.values) for branch, one in zip(network.branches, batch, strict=True)])
    refined = z + network.head.refinement(z)
    assert network.head.reconstructor is not None
    torch.testing.assert_close(out.embedding, normalize(refined + network.head.reconstructor(refined), dim=1))
    parts = loss_parts(network, out, Q)
    assert set(parts) == set(SAMPLE_WISE)
    found = gradients(weighted(parts, network.settings), network)
    idle = {name for name, gradient in found.items() if not gradient.any()}
    assert idle == {name for name in found if name.startswith(("head.gate", "tells_"))}


def test_one_intervention_alone_agrees_with_itself_and_correlates_with_no_other() -> None:
    network = a_network(interventions=1)
    parts = parts_of(network, a_batch((0, 1, 2)))
    assert set(WEIGHTS) - set(parts) == {"independence"}
    assert parts["invariance"].item() == pytest.approx(0, abs=1e-12)


def separation_only(q: float) -> tuple[CiimNetwork, list[Labelled], dict[str, Tensor], Tensor]:
    """A network whose bias classifier is blind, so that the causal one alone teaches; its gradients and its loss."""
    network, batch = a_network(), a_batch((0, 1, 2))
    with torch.no_grad():
        network.tells_bias.weight.zero_()
    value = told(network, batch, q)
    return network, batch, gradients(value, network), value


def told(network: CiimNetwork, batch: list[Labelled], q: float) -> Tensor:
    out = network(batch, some_noise(network, 8))
    return loss_parts(network, out, torch.tensor(q, dtype=torch.float64))["separation"]


def test_the_classifier_descends_and_what_it_judges_ascends() -> None:
    network, batch, found, before = separation_only(q=1.0)
    for start, sign in (("tells_causal", -1), ("branches", 1), ("head.refinement", 1), ("head.gate", 1)):
        names = [name for name in found if name.startswith(start)]
        assert any(found[name].any() for name in names), start
        moved = a_network()
        moved.load_state_dict(network.state_dict())
        with torch.no_grad():
            for name in names:
                moved.get_parameter(name).sub_(1e-3 * found[name])  # a step down the gradient that it is given
        assert sign * (told(moved, batch, 1.0) - before).item() > 0, start


@pytest.mark.parametrize("q", [0.0, 0.25, 1.0])
def test_the_reversed_gradient_grows_with_q_and_that_of_the_classifier_does_not(q: float) -> None:
    _, _, whole, one = separation_only(1.0)
    _, _, found, other = separation_only(q)
    assert torch.equal(one, other)
    for name, gradient in found.items():
        share = q if name.startswith(("branches", "head")) else 1.0
        torch.testing.assert_close(gradient, share * whole[name], rtol=1e-9, atol=1e-12)


def test_the_bias_is_taught_to_tell_its_modality() -> None:
    network, batch = a_network(), a_batch((0, 1, 2))
    with torch.no_grad():
        network.tells_causal.weight.zero_()
    before = told(network, batch, 1.0)
    found = gradients(before, network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("branches"):
                parameter.sub_(1e-3 * found[name])
    assert told(network, batch, 1.0) < before


def test_a_modality_without_rows_is_a_batch_of_the_others() -> None:
    network, batch = a_network(), a_batch((0, 3))
    assert not len(batch[2].labels)
    parts = parts_of(network, batch)
    found = gradients(weighted(parts, network.settings), network)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    audio = [gradient for name, gradient in found.items() if name.startswith("branches.2")]
    assert audio
    assert not any(gradient.any() for gradient in audio)
    torch.testing.assert_close(
        found["single"][2], gradients(WEIGHTS["interaction"] * parts["interaction"], network)["single"][2]
    )


@pytest.mark.parametrize(
    "labels",
    [
        ([0], [0, 0, 1, 1], []),  # one row of a modality: what it has in common is all of it
        ([0], [1], []),
        ([1, 1], [1, 1], [1, 1]),  # nothing to be told from
        ([2], [], []),
        ([], [3, 3], []),
    ],
)
def test_the_smallest_batches_have_finite_losses_and_gradients(labels: tuple[list[int], ...]) -> None:
    network = a_network()
    batch = [rows_of(name, own) for name, own in zip(NAMES, labels, strict=True)]
    parts = parts_of(network, batch)
    assert set(parts) == set(WEIGHTS)
    for name, value in parts.items():
        assert torch.isfinite(value), name
        found = gradients(value, network)
        assert all(torch.isfinite(gradient).all() for gradient in found.values()), name
        assert max(float(gradient.abs().max()) for gradient in found.values()) < 1e6, name


def test_proxies_of_classes_that_a_modality_lacks_have_no_influence() -> None:
    network, batch = a_network(), a_batch((0, 1, 2, 3))
    before = parts_of(network, batch)
    with torch.no_grad():
        network.single[~KNOWN] = torch.nan
    for name, value in parts_of(network, batch).items():
        torch.testing.assert_close(value, before[name])


def test_noise_of_more_rows_than_there_are_is_not_looked_at() -> None:
    network, batch = a_network(), a_batch((0, 1))
    noise = some_noise(network, 8)
    exact = {"chosen": noise["chosen"]}
    for name, one in zip(NAMES, batch, strict=True):
        count = len(one.labels)
        for kind in (f"drop/{name}", f"features/{name}"):
            exact[kind] = noise[kind][:count]
        exact[f"bias/{name}"] = noise[f"bias/{name}"][:, :count]
    assert torch.equal(network(batch, noise).embedding, network(batch, exact).embedding)


@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_rows_does_not_count(seed: int) -> None:
    network, batch = a_network(), a_batch((0, 1, 2, 3))
    noise, moved, by_row = some_noise(network, 8), [], {}
    by_row["chosen"] = noise["chosen"]
    g = torch.Generator().manual_seed(seed)
    for name, one in zip(NAMES, batch, strict=True):
        order = torch.randperm(len(one.labels), generator=g)
        moved.append(Labelled(one.values[order], one.labels[order]))
        for kind in (f"drop/{name}", f"features/{name}"):
            by_row[kind] = noise[kind][order]
        by_row[f"bias/{name}"] = noise[f"bias/{name}"][:, order]
    found, expected = parts_of(network, moved, by_row), parts_of(network, batch, noise)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10)


def test_what_a_branch_starts_from_does_not_depend_on_the_order_of_the_modalities() -> None:
    def made(names: tuple[str, ...]) -> CiimNetwork:
        torch.manual_seed(3)
        known = KNOWN[[NAMES.index(name) for name in names]]
        return CiimNetwork({n: WIDTHS[n] for n in names}, dict.fromkeys(names, 20), 5, a_setting(), known)

    one, two = made(NAMES), made(NAMES[::-1])
    assert two.names == ["audio", "text", "image"]
    for place in range(3):
        state = two.branches[2 - place].state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.branches[place].state_dict().items())


def test_proxies_count_by_their_direction_and_start_at_unit_length() -> None:
    torch.manual_seed(0)
    network = CiimNetwork(WIDTHS, dict.fromkeys(NAMES, 20), 5, a_setting(), KNOWN)
    for proxies in (network.single, network.hybrid):
        torch.testing.assert_close(proxies.norm(dim=-1), torch.ones(proxies.shape[:-1]))
    network = a_network()
    before = parts_of(network, a_batch((0, 1)))
    with torch.no_grad():
        network.single.mul_(3)
        network.hybrid.mul_(0.2)
    for name, value in parts_of(network, a_batch((0, 1))).items():
        torch.testing.assert_close(value, before[name])
