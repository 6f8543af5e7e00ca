"""Branches that were trained apart meet in one space."""

from pathlib import Path

import numpy as np
import torch

from tests.training.building import Blobs, multi_label_blobs, settings
from xfeat.cache import FeatureCache
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.samples.importers import Names, read_arrays
from xfeat.training.drcl import Outcome, add, train
from xfeat.training.embedding import embed_run

CPU = torch.device("cpu")


def mean_average_precision(run: Path, protocol: str = "category") -> tuple[dict[str, float], float]:
    found = embed_run(run, "test", CPU)
    result = evaluate(found.items, protocol)
    return {pair: one.metrics["mAP@all"] for pair, one in result.pairs.items()}, result.mean["chance mAP@all"]


def test_unpaired_modalities_meet_in_one_space(caches: dict[str, FeatureCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    enough = settings(spl_epochs=20, epochs=40)
    train([caches["image"], caches["text"]], run, enough)
    add(caches["audio"], run)
    found, chance = mean_average_precision(run)
    assert len(found) == 6
    assert chance < 0.5
    assert min(found.values()) > 0.8


def test_samples_of_several_classes(tmp_path: Path) -> None:
    caches = [multi_label_blobs(name).write(tmp_path / name) for name in ("image", "text")]
    outcome: Outcome = train(caches, tmp_path / "run", settings(spl_epochs=20, epochs=40))
    assert outcome.branches["image"]["train_rows"] + outcome.branches["image"]["val_rows"] == 60
    found, chance = mean_average_precision(tmp_path / "run", "multi-label")
    assert min(found.values()) > chance + 0.15


def digits(shared_data: Path, view: int, name: str) -> Blobs:
    found = read_arrays(
        shared_data / "mfeat" / "handwritten.mat",
        Names(
            features=f"X[{view}]",
            ids="rows",
            labels=f"{shared_data}/mfeat/split.csv#label",
            split=f"{shared_data}/mfeat/split.csv#split",
        ),
    )
    features = np.concatenate([found.features.rows(0, len(found.columns))])
    return Blobs(
        name, features.astype(np.float32), found.columns.labels, list(found.columns.split), found.columns.classes
    )


def test_two_views_of_handwritten_digits(shared_data: Path, tmp_path: Path) -> None:
    caches = [digits(shared_data, view, name).write(tmp_path / name) for view, name in ((0, "pixels"), (4, "shapes"))]
    quick = DrclSettings(hidden=64, out=32, spl_steps=60, spl_lr=2e-3, steps=100, lr=2e-3)
    train(caches, tmp_path / "run", quick)
    found, chance = mean_average_precision(tmp_path / "run")
    assert chance < 0.15
    assert min(found.values()) > 3 * chance
