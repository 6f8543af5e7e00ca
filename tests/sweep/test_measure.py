from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.sweep.building import write_config
from tests.training.building import CLASSES, multi_label_blobs
from tests.training.paired_building import views, write_views
from xfeat.errors import InputError
from xfeat.sweep.config import SweepConfig, read_sweep
from xfeat.sweep.measure import settled
from xfeat.sweep.sweep import sweep

BY_CLASS = {"settings": {}, "space": {"alpha": [0.1, 1.0]}, "method": "ridge"}
BY_PAIR = {"settings": {}, "space": {"dims": [2, 3]}, "method": "cca"}


def config_of(folder: Path, **changes: Any) -> SweepConfig:
    return read_sweep(write_config(folder, **{**BY_PAIR, **changes}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Caches of pairs: with classes under ``image`` and ``text``, with two each in ``several``, without in ``bare``."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("pairs")
    made = views("image", "text", count=24, classes=CLASSES)
    write_views(path, made)
    write_views(path / "bare", {name: view.change(classes=(), labels=None) for name, view in made.items()})
    write_views(path / "alone", {name: view.change(keys=None) for name, view in made.items()})
    write_views(
        path / "apart", {name: view.change(keys=[name + key for key in view.keys]) for name, view in made.items()}
    )
    odd = made["image"].change(labels=np.where(np.array(made["image"].split) == "val", -1, made["image"].labels))
    write_views(path / "odd", {"image": odd})
    for name in ("image", "text"):
        some = multi_label_blobs(name, rows=12)
        replace(some, split=["train", "val"] * 6).write(path / "several" / name)
    return path


def test_caches_without_labels_are_scored_by_instances(folder: Path) -> None:
    config = config_of(folder, caches=["bare/image", "bare/text"])
    assert settled(config).measure == "R@1"
    best = sweep(config, folder / "out", torch.device("cpu")).best
    assert (best.protocol["name"], best.score is None) == ("instance", False)
    assert settled(config_of(folder)).measure == "mAP@all"
    assert settled(config_of(folder, caches=["several/image", "several/text"], metric="nDCG@50")).measure == "nDCG@50"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "mINP"}, "metric mINP is none of protocol category: choose mAP@all, mAP@50, R@1, .*, MedR"),
        ({"metric": "nDCG@50", "protocol": "instance"}, "none of protocol instance: choose R@1, R@5, R@10, R@50, MedR"),
        ({"metric": "R@1", "protocol": "re-id"}, "none of protocol re-id: choose CMC@1, .*, mINP"),
        ({"metric": "R@1", "protocol": "zero-shot"}, "none of protocol zero-shot: choose top-1, top-5, per-class"),
        ({"metric": "P@50", "protocol": "zero-shot-retrieval"}, "choose mAP@all, mAP@200, P@100, P@200"),
        ({"metric": "mAP@all", "caches": ["bare/image", "bare/text"]}, "none of protocol instance"),
        ({"protocol": "category", "caches": ["bare/image", "text"]}, "bare/image: no row of split val has a label"),
        ({"caches": ["odd/image", "text"]}, "odd/image: no row of split val has a label, and protocol category"),
        (
            {"protocol": "instance", "caches": ["alone/image", "text"]},
            "alone/image: no row of split val has a pair key",
        ),
        ({"protocol": "instance", "caches": ["apart/image", "text"]}, "no two of image, text .* same pair key"),
        ({"protocol": "category", "caches": ["several/image", "several/text"]}, "image.*multi-label"),
        ({"caches": ["image"]}, "two modalities"),
        ({"caches": ["image", "image"]}, "two caches hold modality 'image'"),
    ],
)
def test_what_cannot_be_scored_is_not_trained(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        sweep(config_of(folder, **changes), folder / "refused", torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert not (folder / "refused").exists()
