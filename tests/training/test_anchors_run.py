import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.anchors_building import edit_anchors, train_tiny, write_views
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.losses import multi_assignment, single_assignment
from xfeat.methods.sspc_settings import SspcSettings
from xfeat.training.anchors_report import AnchorReport, SpaceReport
from xfeat.training.anchors_run import assign_split, read_anchors
from xfeat.training.group import write_group
from xfeat.training.sspc_store import load_gated

ALONE = (1, 2, 8, 30)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureCache]:
    return write_views(tmp_path_factory.mktemp("views"), "image", "text", "sound", alone=ALONE)


@pytest.fixture(scope="module")
def trained(caches: list[FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train_tiny(caches, tmp_path_factory.mktemp("runs") / "run")


def space_of(report: AnchorReport, modality: str, space: str) -> SpaceReport:
    return next(one for one in report.spaces if (one.modality, one.space) == (modality, space))


def embedded(run: Path, cache: FeatureCache, split: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A branch's rows of a split, and their embeddings of both spaces, float64."""
    branch = load_gated(run / "branches" / f"{cache.manifest.modality}.safetensors")
    block = cache.load((split,))
    out = branch.both(block.features, torch.device("cpu"))
    return block, out.input.double().numpy(), out.joint.double().numpy()


def unit_anchors(run: Path, modality: str, space: str) -> np.ndarray:
    head = load_gated(run / "branches" / f"{modality}.safetensors").head
    rows = (head.input_anchors if space == "input" else head.joint_anchors).detach().double().numpy()
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def oracle_sets(cosines: np.ndarray, required: int) -> list[set[int]]:
    targets = multi_assignment(torch.from_numpy(cosines), required).numpy()
    return [
        set(sorted(range(len(row)), key=lambda j, r=row, c=cos: (-r[j], -c[j], j))[:required])
        for row, cos in zip(targets, cosines, strict=True)
    ]


@pytest.mark.parametrize("space", ["input", "joint"])
def test_numbers_against_the_embeddings(caches: list[FeatureCache], trained: Path, space: str) -> None:
    found = space_of(read_anchors(trained, "test"), "image", space)
    block, inputs, joints = embedded(trained, caches[0], "test")
    cosines = (inputs if space == "input" else joints) @ unit_anchors(trained, "image", space).T
    assert (found.samples, found.pieces) == (20, 1)
    targets = multi_assignment(torch.from_numpy(cosines), 3).numpy()
    held = oracle_sets(cosines, 3)
    for j, anchor in enumerate(found.anchors):
        assert anchor.number == j
        assert anchor.usage == pytest.approx((cosines.argmax(1) == j).mean())
        assert anchor.membership == pytest.approx(targets[:, j].mean(), abs=1e-4)
        assert anchor.held == sum(j in one for one in held)
        assert anchor.near == sum(j in np.argsort(-row)[:3] for row in cosines)
        best = np.argsort(-cosines[:, j])[:8]
        assert [one.id for one in anchor.examples] == [block.ids[row] for row in best]
        assert [one.cosine for one in anchor.examples] == pytest.approx(cosines[best, j].tolist(), abs=1e-5)


@pytest.mark.parametrize("space", ["input", "joint"])
def test_agreement_joins_instances_by_their_key(caches: list[FeatureCache], trained: Path, space: str) -> None:
    found = space_of(read_anchors(trained, "test"), "image", space).agreement
    assert found.keys() == {"text", "sound"}
    own, inputs, joints = embedded(trained, caches[0], "test")
    mine = oracle_sets((inputs if space == "input" else joints) @ unit_anchors(trained, "image", space).T, 3)
    other, _, theirs = embedded(trained, caches[2], "test")
    sets = dict(zip(other.pair, oracle_sets(theirs @ unit_anchors(trained, "image", "joint").T, 3), strict=True))
    values = [
        len(one & sets[key]) / len(one | sets[key]) for key, one in zip(own.pair, mine, strict=True) if key in sets
    ]
    assert found["sound"].instances == len(values) == 19  # instance 30 has no sound
    assert found["sound"].jaccard == pytest.approx(np.mean(values))


def test_what_is_planted_is_found(caches: list[FeatureCache], tmp_path: Path) -> None:
    run = train_tiny(caches, tmp_path / "run", required=1)
    anchors = unit_anchors(run, "image", "input")
    anchors[4] = 2 * anchors[1]
    edit_anchors(run, "image", "input", anchors)
    # Both ways along the two main directions of the samples, and a direction in which they hardly differ.
    _, _, joints = embedded(run, caches[0], "train")
    first, second, third, *_, last = np.linalg.svd(joints)[2]
    planted = np.stack([first, -first, last, second, -second, third])
    assert (np.sort(joints @ planted.T, axis=1)[:, -1] > joints @ last + 0.01).all()
    edit_anchors(run, "image", "joint", planted)
    report = read_anchors(run, "train", modalities=["image"])
    assert [(one.modality, one.space) for one in report.spaces] == [("image", "input"), ("image", "joint")]
    assert [pair[:2] for pair in report.spaces[0].duplicates] == [(1, 4)]
    assert 2 in report.spaces[1].dead
    assert report.spaces[1].dead == report.spaces[1].never_nearest
    assert report.spaces[1].duplicates == []


def test_a_long_split_is_assigned_in_even_parts() -> None:
    settings = SspcSettings(anchors=5, queue=10, required=2, eps=0.07)
    cosines = torch.randn(23, 5, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    found, pieces = assign_split(cosines, settings)
    assert pieces == 3
    for start in range(3):
        assert torch.equal(found[start::3], multi_assignment(cosines[start::3], 2))
    whole, one = assign_split(cosines, settings.model_copy(update={"queue": 23}))
    assert one == 1
    assert torch.equal(whole, multi_assignment(cosines, 2))


def test_the_runs_own_rule(caches: list[FeatureCache], tmp_path: Path) -> None:
    run = train_tiny(caches, tmp_path / "run", assignment="single", eps=0.2, iterations=3)
    report = read_anchors(run, "test")
    assert report.required == 1
    _, inputs, _ = embedded(run, caches[0], "test")
    cosines = inputs @ unit_anchors(run, "image", "input").T
    targets = single_assignment(torch.from_numpy(cosines), eps=0.2, iterations=3).numpy()
    found = [one.membership for one in space_of(report, "image", "input").anchors]
    assert found == pytest.approx(targets.mean(0).tolist(), abs=1e-4)
    assert sum(one.held for one in space_of(report, "image", "input").anchors) == 20


def test_json_holds_it_all(trained: Path) -> None:
    document = json.loads(json.dumps(read_anchors(trained, examples=2).to_json()))
    assert (document["split"], document["anchors"], document["required"]) == ("train", 6, 3)
    assert [(one["modality"], one["space"]) for one in document["spaces"][:2]] == [
        ("image", "input"),
        ("image", "joint"),
    ]
    first = document["spaces"][0]
    assert first["perplexity"] == pytest.approx(np.exp(first["entropy"]))
    assert sum(one["usage"] for one in first["anchors"]) == pytest.approx(1)
    assert [len(one["examples"]) for one in first["anchors"]] == [2] * 6
    assert {one["classes"][0] for anchor in first["anchors"] for one in anchor["examples"]} <= {"ant", "bee & <b>"}


def test_raw_and_averaged_weights(caches: list[FeatureCache], trained: Path, tmp_path: Path) -> None:
    kept, raw, ema = (read_anchors(trained, weights=kind) for kind in ("kept", "raw", "ema"))
    assert (kept.weights, raw.weights) == ("ema", "raw")
    assert kept.to_json() == ema.to_json()
    assert kept.spaces != raw.spaces
    without = train_tiny(caches[:2], tmp_path / "run", ema=0.0)
    assert read_anchors(without).weights == "raw"
    assert "holds no ema weights" in refusal(without, weights="ema")


def test_a_split_that_another_modality_does_not_have(tmp_path: Path) -> None:
    alone = [row for row in range(60) if row % 3 == 0]
    run = train_tiny(write_views(tmp_path, "image", "text", alone=alone), tmp_path / "run")
    assert space_of(read_anchors(run, "test", modalities=["image"]), "image", "joint").agreement == {}
    assert "no rows in split 'test' (splits there: train)" in refusal(run, split="test")


def test_anchors_that_no_pair_counts_for_get_a_note(caches: list[FeatureCache], tmp_path: Path) -> None:
    run = train_tiny(caches, tmp_path / "run", modality_weight={"sound": 0.0})
    assert read_anchors(run).notes == ["every pair of sound weighs 0: its anchors were never trained"]


def refusal(run: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_anchors(run, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals(caches: list[FeatureCache], trained: Path, tmp_path: Path) -> None:
    assert "has no modality 'video': it has image, text, sound" in refusal(trained, modalities=["video"])
    assert "no rows in split 'val' (splits there: " in refusal(trained, split="val")
    assert "not a run" in refusal(tmp_path / "no")
    bare = train_tiny(caches[:2], tmp_path / "bare", beta=0.0)
    assert "contrastive only (beta=0): its anchors were never trained" in refusal(bare)
    short = train_tiny(caches[:2], tmp_path / "short")
    log = short / "log.jsonl"
    rows = [{**json.loads(line), "train_consistency": 0.0} for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "its anchors were never trained" in refusal(short)
    group = tmp_path / "group"
    write_group(group, [3, 4], "sspc")
    assert f"several seeds: name one of them, for example {group / 'seed3'}" in refusal(group)
