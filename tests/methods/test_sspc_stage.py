"""What the training keeps beside the heads: averaged weights, queues, the score of an epoch."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, optim

from xfeat.methods.sspc import Features
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.methods.sspc_stage import SspcObjective, SspcStage
from xfeat.training.paired import Column, ResidentPairs
from xfeat.training.pairing import Members, Pairing
from xfeat.training.resident import InputScale

DIMS = {"text": 4, "image": 5}
INSTANCES = 12
FIXED: dict[str, Any] = {"eps": 0.1, "temperature": 0.05, "input_anchors": "projected", "dropout": 0, "input_noise": 0}


def rows(seed: int = 0, count: int = INSTANCES) -> ResidentPairs:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 3, generator=g)
    maps = torch.Generator().manual_seed(9)
    columns = {
        name: Column(hidden @ torch.randn(3, dim, generator=maps), None, InputScale(torch.zeros(dim), torch.ones(dim)))
        for name, dim in DIMS.items()
    }
    one_each = Members(np.arange(count), np.arange(count + 1))
    zeros = dict.fromkeys(DIMS, 0)
    return ResidentPairs(columns, Pairing([str(i) for i in range(count)], dict.fromkeys(DIMS, one_each), zeros, zeros))


def a_setting(**changes: Any) -> SspcSettings:
    chosen = {"input_dim": 6, "joint_dim": 4, "anchors": 4, "iterations": 3, "batch_size": 4, "epochs": 4, "lr": 0.02}
    return SspcSettings(**{**chosen, "queue": 7, "ema": 0.75, **FIXED, **changes}).resolved(INSTANCES)


def a_stage(*, val: bool = True, **changes: Any) -> SspcStage:
    torch.manual_seed(0)
    return SspcStage(rows(), rows(1) if val else None, a_setting(**changes))


def train(stage: SspcStage, epochs: int = 1) -> list[dict[str, Tensor]]:
    """Weights after every step."""
    optimizer, found = optim.SGD(stage.objective.heads.parameters(), lr=0.1), []
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for x, y in stage.train.epoch(stage.schedule.batch_size, generator):
            optimizer.zero_grad()
            stage.objective(x, y, {}, torch.zeros(()))["loss"].backward()
            optimizer.step()
            stage.objective.after_step()
            found.append({name: value.clone() for name, value in stage.objective.heads.state_dict().items()})
    return found


def test_the_average_is_the_literal_recursion_from_the_first_step_on() -> None:
    stage = a_stage()
    course = train(stage, epochs=3)
    expected = {name: value.double() for name, value in course[0].items()}
    for step in course[1:]:
        for name in expected:
            expected[name] = 0.75 * expected[name] + 0.25 * step[name].double()
    states = stage.objective.states()
    assert states.keys() == {f"{kind}/{name}" for kind in ("raw", "ema") for name in expected}
    for name, value in expected.items():
        torch.testing.assert_close(states[f"ema/{name}"].double(), value, atol=1e-6, rtol=1e-5)
        assert torch.equal(states[f"raw/{name}"], course[-1][name])
    moved = [name for name in expected if not torch.equal(states[f"ema/{name}"], states[f"raw/{name}"])]
    assert len(moved) == len(expected)


def test_without_a_decay_there_is_no_average() -> None:
    stage = a_stage(ema=0.0)
    train(stage)
    assert all(name.startswith("raw/") for name in stage.objective.states())
    assert stage.objective.ema is None
    for one, two in zip(stage.objective.weights("ema"), stage.objective.weights("raw"), strict=True):
        assert one is two
    assert set(stage.validate(0)) == {"score", "raw"}


def test_the_average_takes_no_gradient_and_moves_no_training() -> None:
    with_average, without = a_stage(), a_stage(ema=0.0)
    trained = [name for name, p in with_average.objective.named_parameters() if p.requires_grad]
    assert trained
    assert all(name.startswith("heads.") for name in trained)
    for one, two in zip(train(with_average), train(without), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_queues_hold_the_last_rows_that_were_trained_on() -> None:
    stage, seen = a_stage(), []
    generator = torch.Generator().manual_seed(1)
    for x, y in stage.train.epoch(4, generator):
        stage.objective(x, y, {}, torch.zeros(()))
        heads = stage.objective.weights("raw")
        seen += [head.branch(x[name].values).joint for name, head in zip(DIMS, heads, strict=True)]
        stage.objective.after_step()
    for place in (0, 1):
        expected = torch.cat(seen[place::2])[-7:]
        queue = stage.objective.joint_queues[place]
        assert queue.full
        assert sorted(queue.filled()[:, 0].tolist()) == pytest.approx(sorted(expected[:, 0].tolist()))


def test_the_state_of_the_objective_is_all_that_the_next_step_needs() -> None:
    one, two = a_stage(), a_stage()
    train(one)
    state = {name: value.clone() for name, value in one.objective.state_dict().items()}
    two.objective.load_state_dict(state)
    assert all(torch.equal(a[n], b[n]) for a, b in zip(train(one), train(two), strict=True) for n in a)
    final = two.objective.state_dict()
    assert all(torch.equal(value, final[name]) for name, value in one.objective.state_dict().items())


def test_schedule_follows_the_settings() -> None:
    s = a_stage(lr_schedule="exponential", lr_decay=0.8, weight_decay=0.1, epochs=60).schedule
    assert (s.batch_size, s.epochs, s.lr, s.lr_schedule, s.lr_decay) == (4, 60, 0.02, "exponential", 0.8)
    assert (s.weight_decay, s.betas, s.validate_every) == (0.1, (0.9, 0.999), 3)
    assert a_stage(size="paper", epochs=15).schedule.validate_every == 1


def test_weights_of_layers_decay_and_nothing_else() -> None:
    stage = a_stage(depth=1, heads=2)
    names = {name.removeprefix("heads.0.") for name, _ in stage.objective.heads[0].named_parameters(prefix="heads.0")}
    decaying = {name for name in names if stage.decays(name)}
    assert {"branch.embed.linear.weight", "branch.project.gate.weight"} <= decaying
    assert {"input_anchors", "joint_anchors", "branch.norm.weight", "branch.embed.linear.bias"} <= names - decaying
    assert not [name for name in decaying if "norm" in name or name.endswith("bias")]


def recall(vectors: dict[str, Tensor], query: str, gallery: str, cut: int) -> float:
    ranks = []
    for number, vector in enumerate(vectors[query]):
        scores = (vectors[gallery] @ vector).tolist()
        ranks.append(sum(score > scores[number] for score in scores))
    return sum(rank < cut for rank in ranks) / len(ranks)


def literal_score(stage: SspcStage, kind: str) -> float:
    assert isinstance(stage.val, ResidentPairs)
    vectors = {
        name: head.branch(stage.val.columns[name].values).joint
        for name, head in zip(stage.objective.names, stage.objective.weights(kind), strict=True)
    }
    means = [
        math.prod(recall(vectors, *pair, cut) for cut in (1, 5, 10)) ** (1 / 3)
        for pair in (("text", "image"), ("image", "text"))
    ]
    return sum(means) / 2


@pytest.mark.parametrize("weights", ["auto", "raw", "ema"])
@pytest.mark.parametrize("select", ["last", "best"])
def test_the_score_is_retrieval_among_the_val_rows_by_the_weights_that_count(weights: str, select: str) -> None:
    stage = a_stage(weights=weights, select=select, ema=0.99)
    train(stage, epochs=30)
    with torch.no_grad():
        found = {name: value.item() for name, value in stage.validate(6).items()}
        scores = {kind: literal_score(stage, kind) for kind in ("raw", "ema")}
    assert scores["raw"] != scores["ema"], "the test needs a difference"
    assert {kind: found[kind] for kind in scores} == pytest.approx(scores)
    best = max(scores.values()) if weights == "auto" else scores[weights]
    assert found["score"] == (6 if select == "last" else pytest.approx(best))
    assert bool(stage.keep()["prefers_ema"]) == (scores["ema"] >= scores["raw"])


def test_without_val_rows_the_last_epoch_counts() -> None:
    stage = a_stage(val=False, select="best")
    assert {name: value.item() for name, value in stage.validate(3).items()} == {"score": 3.0}
    assert stage.keep()["prefers_ema"] == 1


def test_objective_takes_modalities_by_name() -> None:
    torch.manual_seed(0)
    objective = SspcObjective(DIMS, a_setting())
    batch = {name: Features(torch.randn(4, dim)) for name, dim in DIMS.items()}
    keys, q = torch.arange(4), torch.zeros(())
    found = objective(batch, keys, {}, q)["loss"]
    assert torch.equal(objective(dict(reversed(batch.items())), keys, {}, q)["loss"], found)
