import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.pairs import QUICK, write_paired
from tests.training.building import TINY, blobs, write_blobs
from xfeat.cache import FeatureCache
from xfeat.evaluation.embedded import Embedded
from xfeat.evaluation.gap import NO_GAP, measure_gap
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.training.asked import Asked
from xfeat.training.ciim import train as train_ciim
from xfeat.training.drcl import train
from xfeat.training.drcl_group import train_group
from xfeat.training.embedding import Blocks
from xfeat.training.evaluating import evaluate_path, evaluate_raw
from xfeat.training.gaps import raw_gaps, rows_of_run, run_gaps, run_stages
from xfeat.training.loading import Staged, load_branch
from xfeat.training.run import Run
from xfeat.training.sspc import train as train_sspc

CPU, TEST = torch.device("cpu"), Asked("test")


QUICK_CIIM = CiimSettings(hidden=16, out=8, reconstructor=16, epochs=3, batch_classes=3, batch_samples=4)


@pytest.fixture(scope="module")
def causal(caches: dict[str, FeatureCache], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("causal") / "run"
    train_ciim([caches["image"], caches["text"]], run, QUICK_CIIM)
    return run


def measured(path: Path, asked: Asked = TEST) -> dict[str, Any]:
    found = evaluate_path(path, asked, CPU).found
    document: dict[str, Any] = json.loads(json.dumps(run_gaps(path, asked, found, CPU).to_json(), allow_nan=False))
    return document


def test_the_gap_is_that_of_the_embeddings_that_were_evaluated(together: Path) -> None:
    found = evaluate_path(together, TEST, CPU).found
    document = measured(together)
    expected = measure_gap(found.items, found.ids).to_json()
    assert list(document["stages"]) == ["embedding"]  # the features have different widths
    assert document["stages"]["embedding"]["mean"] == pytest.approx(expected["mean"])
    pairs = document["stages"]["embedding"]["pairs"]
    assert list(pairs) == ["image|text", "image|audio", "text|audio"]
    for name, numbers in pairs.items():
        wanted = expected["pairs"][name]
        assert numbers.pop("rows") == list(wanted.pop("rows"))
        assert numbers == pytest.approx(wanted)
    assert document["protocol"]["split"] == "test"
    assert document["protocol"]["class_balanced"] is True
    assert "seeds" not in document


def test_chosen_classes_and_other_caches_are_measured(together: Path, tmp_path: Path) -> None:
    chosen = measured(together, Asked("test", classes=["ant", "bee"]))
    assert {one["classes"] for one in chosen["stages"]["embedding"]["pairs"].values()} == {2}
    others = write_blobs(tmp_path, "image", "audio")
    elsewhere = measured(together, Asked("train", on=others))
    assert list(elsewhere["stages"]["embedding"]["pairs"]) == ["image|audio"]


def test_stages_of_a_branch_are_measured_in_their_order(causal: Path) -> None:
    found = evaluate_path(causal, TEST, CPU).found
    looked = rows_of_run(causal, TEST, found, Blocks())
    stages = run_stages(causal, TEST, looked, CPU)
    inside = {name: load_branch(Run(causal).branch_file(name)) for name in ("image", "text")}
    for name, branch in inside.items():
        assert isinstance(branch, Staged)
        assert looked[name].ids == found.ids[name]
        own = branch.stages(looked[name].block.features, CPU)
        assert list(stages) == list(own)
        for stage, vectors in own.items():
            assert torch.equal(torch.as_tensor(stages[stage][name]), vectors)
        torch.testing.assert_close(list(own.values())[-1], torch.as_tensor(found.items[name].vectors))
    document = measured(causal)
    assert len(document["stages"]) == 2
    for stage, numbers in document["stages"].items():
        items = {name: Embedded(stages[stage][name], found.items[name].labels) for name in looked}
        assert numbers["mean"] == pytest.approx(measure_gap(items, found.ids).mean)


def test_only_branches_that_say_so_have_stages(together: Path) -> None:
    assert not isinstance(load_branch(Run(together).branch_file("image")), Staged)


def test_features_of_one_width_are_a_stage(tmp_path: Path) -> None:
    rows = blobs("image", rows=48)
    caches = [rows.write(tmp_path / "a"), replace(rows, modality="other").write(tmp_path / "b")]
    train(caches, tmp_path / "run", TINY)
    stages = measured(tmp_path / "run")["stages"]
    assert list(stages) == ["features", "embedding"]
    assert stages["features"]["mean"]["centroid_distance"] == pytest.approx(0, abs=1e-9)
    raw = raw_gaps(caches, TEST, evaluate_raw(caches, TEST, CPU).found).to_json()
    assert json.loads(json.dumps(raw))["stages"] == {"features": stages["features"]}


def test_a_group_has_means_and_deviations(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    train_group([caches["image"], caches["text"]], tmp_path / "group", TINY, [0, 1, 2])
    document = measured(tmp_path / "group")
    assert document["seeds"] == [0, 1, 2]
    stage = document["stages"]["embedding"]
    single = [measured(tmp_path / "group" / f"seed{seed}")["stages"]["embedding"] for seed in range(3)]
    for name in NO_GAP:
        values = [one["mean"][name] for one in single]
        assert stage["mean"][name] == pytest.approx(np.mean(values))
        assert stage["spread"]["mean"][name] == pytest.approx(np.std(values, ddof=1))
        assert stage["pairs"]["image|text"][name] == pytest.approx(np.mean(values))


def test_rows_of_an_instance_are_sampled_together(tmp_path: Path) -> None:
    caches = write_paired(tmp_path, "image", "text")
    train_sspc(caches, tmp_path / "run", QUICK)
    found = evaluate_path(tmp_path / "run", TEST, CPU).found
    looked = rows_of_run(tmp_path / "run", TEST, found, Blocks(), 10)
    assert len(looked["image"].ids) == 10
    assert looked["image"].keys == looked["text"].keys
    assert looked["image"].labels is None  # the protocol is by instance
    assert all(len(own) == 1 for own in looked["image"].classes)  # the cache knows them all the same
    document = measured(tmp_path / "run")
    assert document["protocol"]["class_balanced"] is False
    assert document["stages"]["embedding"]["pairs"]["image|text"]["rows"] == [32, 32]
