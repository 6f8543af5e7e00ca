"""A modality that joins: the head and the hybrid proxies of others, frozen, and what it learns against them."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.methods.ciim_building import WEIGHTS
from tests.methods.ciim_stage_building import CLASSES, COUNT, a_stage, descend, state
from xfeat.methods.ciim_stage import CiimStage, shared_state


def trained_head() -> tuple[CiimStage, dict[str, Tensor]]:
    first = a_stage("image", "text")
    descend(first, epochs=6)
    return first, shared_state(first.keep())


def test_a_modality_that_joins_moves_nothing_that_is_shared() -> None:
    first, shared = trained_head()
    assert set(shared) == {"hybrid", "anchored"} | {name for name in state(first) if name.startswith("head.")}
    assert {"head.bank.mean", "head.gate"} < set(shared)
    stage = a_stage("audio", shared=shared, dropout=0.2)
    network = stage.objective.network
    assert stage.objective.joins
    assert not first.objective.joins
    before = state(stage)
    assert all(torch.equal(before[name], value) for name, value in shared.items())
    assert network.head.bank.modalities == 2
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in network.named_parameters() if name in shared}
    descend(stage, epochs=3)
    after = state(stage)
    assert all(torch.equal(after[name], value) for name, value in shared.items())
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    told = {"tells_causal.weight", "tells_causal.bias", "tells_bias.weight", "tells_bias.bias"}
    assert moved == set(after) - set(shared) - told - {"known", "centres.std"}


def test_a_modality_that_joins_has_the_parts_that_one_alone_can_have() -> None:
    stage = a_stage("audio", shared=trained_head()[1])
    generator = torch.Generator().manual_seed(0)
    x, y = next(iter(stage.train.epoch(6, generator)))
    found = stage.objective(x, y, stage.objective.draw(len(y), generator), torch.tensor(0.5))
    assert set(found) == {"loss", *WEIGHTS} - {"separation"}


def test_a_modality_that_joins_is_pushed_from_classes_that_it_lacks_and_not_drawn_to_those_that_nobody_had() -> None:
    """The run knows classes 0, 1 and 2; audio has rows of 1, 2 and 3."""
    stage = a_stage("audio", shared=trained_head()[1])
    network = stage.objective.network
    assert network.anchored.tolist() == [True, True, True, False]
    x, y = next(iter(stage.train.epoch(6, torch.Generator().manual_seed(0))))
    noise = stage.objective.draw(len(y), torch.Generator().manual_seed(0))
    before = stage.objective(x, y, noise, torch.tensor(0.0))
    changes = {}
    for label in range(CLASSES):
        kept = network.hybrid.detach().clone()
        with torch.no_grad():
            network.hybrid[label] = normalize(torch.randn(4, generator=torch.Generator().manual_seed(9)), dim=0)
            after = stage.objective(x, y, noise, torch.tensor(0.0))
            network.hybrid.copy_(kept)
        changes[label] = {n for n in ("hybrid", "interaction") if not torch.equal(after[n], before[n])}
    assert changes == {0: {"hybrid"}, 1: {"hybrid", "interaction"}, 2: {"hybrid", "interaction"}, 3: set()}


def test_a_modality_that_joins_is_scored_by_the_nearest_proxy() -> None:
    _, shared = trained_head()
    stage = a_stage("audio", shared=shared, select="best")
    descend(stage, epochs=5)
    network, val = stage.objective.network, stage.val["audio"]
    hits = 0
    for vector, label in zip(stage.objective.embed(0, val.values), val.labels.tolist(), strict=True):
        cosines = [float(vector @ proxy.detach() / proxy.detach().norm()) for proxy in network.hybrid]
        hits += cosines.index(max(cosines)) == label
    found = stage.validate(2)
    assert found["retrieval"].item() == pytest.approx(hits / COUNT)
    assert found["score"].item() == found["retrieval"].item()
    assert hits > COUNT / 4
    empty = a_stage("audio", shared=shared, select="best", val=False)
    assert {name: value.item() for name, value in empty.validate(2).items()} == {"score": 2.0}
