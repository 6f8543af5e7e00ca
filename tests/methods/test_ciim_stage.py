"""What the training keeps beside the losses: drawn noise, bank and centres, the score of an epoch."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.methods.ciim_building import WEIGHTS, a_setting
from tests.methods.ciim_stage_building import COUNT, HELD, a_stage, column, descend, rows, state
from xfeat.heads.bias_bank import MOMENTUM
from xfeat.methods.ciim import Labelled
from xfeat.methods.ciim_stage import CiimObjective, CiimStage


def test_noise_is_drawn_by_the_generator_alone_and_for_every_modality() -> None:
    stage = a_stage("audio", "image", "text", dropout=0.25, input_noise=0.5, interventions=2)
    draws = [stage.objective.draw(6, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    names = ("audio", "image", "text")
    assert draws[0].keys() == {f"{kind}/{name}" for name in names for kind in ("features", "bias")} | {
        f"drop/{name}" for name in names
    } | {"chosen"}
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in draws[0])
    assert not torch.equal(draws[0]["bias/image"], draws[2]["bias/image"])
    assert draws[0]["bias/image"].shape == (2, 6, 4)
    assert draws[0]["features/image"].shape == (6, 5)
    assert len(set(draws[0]["chosen"].tolist())) == 2
    chosen = {tuple(stage.objective.draw(1, torch.Generator().manual_seed(i))["chosen"].tolist()) for i in range(60)}
    assert chosen == {(a, b) for a in range(3) for b in range(3) if a != b}
    many = stage.objective.draw(3000, torch.Generator().manual_seed(4))
    assert many["features/text"].std() == pytest.approx(0.5, rel=0.05)
    assert many["bias/text"].std() == pytest.approx(1, rel=0.05)
    assert many["drop/text"].mean() == pytest.approx(1, rel=0.05)
    quiet = a_stage(intervention=False).objective
    assert quiet.draw(6, torch.Generator()) == {}


@pytest.mark.parametrize("asked", [None, 2, 9])
def test_no_more_interventions_are_drawn_than_there_are_modalities(asked: int | None) -> None:
    found = a_stage(interventions=asked).objective.draw(5, torch.Generator().manual_seed(0))
    assert sorted(found["chosen"].tolist()) == [0, 1]
    assert found["bias/text"].shape == (2, 5, 4)


def test_a_step_is_a_function_of_its_inputs() -> None:
    stage = a_stage(dropout=0.2, input_noise=0.1)
    descend(stage)
    generator, before = torch.Generator().manual_seed(7), state(stage)
    (x, y) = next(iter(stage.train.epoch(6, generator)))
    noise, q = stage.objective.draw(len(y), generator), torch.tensor(0.5)
    first, second = (stage.objective(x, y, noise, q) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert set(first) == {"loss", *WEIGHTS}
    assert all(torch.equal(value, before[name]) for name, value in state(stage).items()), "no step, no change"
    by_other_order = stage.objective(dict(reversed(x.items())), y, noise, q)
    assert torch.equal(by_other_order["loss"], first["loss"]), "rows are taken by name"


def test_bank_and_centres_are_running_averages_of_what_the_steps_saw() -> None:
    stage = a_stage("audio", "image")
    seen = descend(stage, epochs=4)
    network = stage.objective.network
    lacked = 0
    for place, name in enumerate(("audio", "image")):
        expected: tuple[Tensor, Tensor, Tensor] | None = None
        for step in seen:
            bias, centre = step[name]
            if not len(bias):
                lacked += 1
                continue
            now = (bias.mean(0), bias.std(0, correction=0), centre)
            expected = (
                now
                if expected is None
                else tuple(  # type: ignore[assignment]
                    (1 - MOMENTUM) * old + MOMENTUM * new for old, new in zip(expected, now, strict=True)
                )
            )
        assert expected is not None
        found = (network.head.bank.mean[place], network.head.bank.std[place], network.centres.mean[place])
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert found[1].min() > 0
    assert network.head.bank.seen.all()
    before = state(stage)
    stage.objective.after_step()  # a batch is learned from once
    assert all(torch.equal(value, before[name]) for name, value in state(stage).items())


def test_a_batch_without_rows_of_a_modality_leaves_its_statistics_alone() -> None:
    stage = a_stage()
    descend(stage)
    before, generator = state(stage), torch.Generator().manual_seed(0)
    x, y = next(iter(stage.train.epoch(6, generator)))
    x = {**x, "text": Labelled(x["text"].values[:0], x["text"].labels[:0])}
    stage.objective(x, y, stage.objective.draw(len(y), generator), torch.tensor(0.0))
    stage.objective.after_step()
    after = state(stage)
    for name in ("head.bank.mean", "head.bank.std", "centres.mean"):
        assert torch.equal(after[name][1], before[name][1])
        assert not torch.equal(after[name][0], before[name][0])


def test_without_intervention_there_are_no_statistics() -> None:
    stage = a_stage(intervention=False)
    assert descend(stage, epochs=2) == []
    network = stage.objective.network
    assert not network.head.bank.seen.any()
    assert not network.centres.seen.any()
    values = stage.val["text"].values
    z = network.branches[1](values)
    refined = z + network.head.refinement(z)
    expected = normalize(refined + network.head.reconstructor(refined), dim=1)
    torch.testing.assert_close(stage.objective.embed(1, values), expected)


def test_rows_are_embedded_by_the_means_and_their_own_centre_in_any_company() -> None:
    stage = a_stage()
    descend(stage, epochs=3)
    network, values = stage.objective.network, stage.val["text"].values
    found = stage.objective.embed(1, values)
    assert not found.requires_grad
    torch.testing.assert_close(found.norm(dim=1), torch.ones(COUNT))
    torch.testing.assert_close(stage.objective.embed(1, values[3:5]), found[3:5])
    head, centre = network.head, network.centres.mean[1]
    refined = head.refine(network.branches[1](values))
    causal = head.gate.sigmoid() * (refined - centre)
    under = [normalize(x + head.reconstructor(x), dim=1) for x in (causal + bias for bias in head.bank.mean)]
    torch.testing.assert_close(found, normalize(under[0] + under[1], dim=1))


def test_the_state_of_the_objective_is_all_that_the_next_step_needs() -> None:
    one, two = a_stage(), a_stage()
    descend(one)
    two.objective.load_state_dict({name: value.clone() for name, value in one.objective.state_dict().items()})
    descend(one)
    descend(two)
    assert all(torch.equal(value, state(two)[name]) for name, value in state(one).items())


def test_the_reversed_gradient_is_ramped_up_over_the_training() -> None:
    stage = a_stage(epochs=50)
    ramp = [stage.q(epoch) for epoch in range(50)]
    assert ramp[0] == 0
    assert ramp == sorted(ramp)
    assert ramp[25] == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert 0.99 < ramp[-1] < 1


def test_schedule_follows_the_settings() -> None:
    s = a_stage(lr_schedule="constant", weight_decay=0.1, epochs=60, batch_classes=3, batch_samples=2).schedule
    assert (s.batch_size, s.epochs, s.lr, s.lr_schedule) == (6, 60, 0.02, "constant")
    assert (s.weight_decay, s.betas, s.validate_every) == (0.1, (0.9, 0.999), 3)


def test_weights_of_layers_decay_and_nothing_else() -> None:
    stage = a_stage(skip=True)
    names = [name.removeprefix("network.") for name, _ in stage.objective.named_parameters()]
    decaying = {name for name in names if stage.decays(f"network.{name}")}
    assert {"branches.0.input.weight", "branches.1.skip.weight", "head.refinement.weight"} <= decaying
    assert {"head.reconstructor.0.weight", "tells_bias.weight"} <= decaying
    assert {"single", "hybrid", "head.gate", "head.refinement.bias"} <= set(names) - decaying
    assert not [name for name in decaying if name.endswith("bias")]


def literal_map(stage: CiimStage) -> float:
    """Mean average precision of both directions, the ranks counted one by one."""
    with torch.no_grad():
        vectors = {n: stage.objective.embed(i, stage.val[n].values) for i, n in enumerate(("image", "text"))}
    found = []
    for query, gallery in (("image", "text"), ("text", "image")):
        for vector, label in zip(vectors[query], stage.val[query].labels.tolist(), strict=True):
            order = (vectors[gallery] @ vector).argsort(descending=True)
            hits = [int(stage.val[gallery].labels[i] == label) for i in order.tolist()]
            precision = [sum(hits[: k + 1]) / (k + 1) for k, hit in enumerate(hits) if hit]
            found.append(sum(precision) / len(precision))
    return sum(found) / len(found)


@pytest.mark.parametrize("select", ["last", "best"])
def test_the_score_is_retrieval_among_the_val_rows(select: str) -> None:
    stage = a_stage(select=select)
    descend(stage, epochs=3)
    found = {name: value.item() for name, value in stage.validate(6).items()}
    assert found["retrieval"] == pytest.approx(literal_map(stage), abs=1e-6)
    assert 0.3 < found["retrieval"] < 1
    assert found["score"] == (6 if select == "last" else found["retrieval"])


def test_where_there_is_nothing_to_find_the_last_epoch_counts() -> None:
    nothing = a_stage(val=False, select="best")
    one = a_stage(select="best")
    one.val = {"text": one.val["text"]}
    apart = a_stage(select="best")
    apart.val = {name: column(name, classes=(place,)).all() for place, name in enumerate(apart.val)}
    for stage in (nothing, one, apart):
        assert {name: value.item() for name, value in stage.validate(3).items()} == {"score": 3.0}


def test_a_class_in_the_val_rows_of_one_modality_alone_is_left_out_of_the_score() -> None:
    stage = a_stage("audio", "image", select="best")
    assert 0 < stage.validate(0)["retrieval"].item() < 1


def test_vectors_that_are_no_numbers_are_a_score_that_the_loop_refuses() -> None:
    stage = a_stage()
    with torch.no_grad():
        stage.objective.network.head.refinement.bias.fill_(torch.nan)
    assert stage.validate(0)["retrieval"].isnan()


def test_objective_takes_any_number_of_modalities() -> None:
    objective = CiimObjective(rows("image", "text", "audio"), a_setting())
    assert objective.network.known.tolist() == [[label in HELD[name] for label in range(4)] for name in HELD]
