"""Settings that train CIIM in an instant, and caches of blobs for it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.building import Blobs, blobs, files
from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.evaluation.protocols import evaluate
from xfeat.methods.ciim_settings import CiimSettings
from xfeat.training.ciim import train
from xfeat.training.embedding import embed_run

CPU = torch.device("cpu")
TINY = CiimSettings(
    hidden=16,
    out=12,
    reconstructor=10,
    skip=False,
    dropout=0.1,
    input_noise=0.1,
    scale=8.0,
    margin=0.1,
    within=0.5,
    interventions=2,
    single=1.0,
    hybrid=1.0,
    interaction=1.0,
    pairs=1.0,
    invariance=0.5,
    separation=0.1,
    independence=0.02,
    sufficiency=0.1,
    batch_classes=3,
    batch_samples=4,
    epochs=4,
    lr=0.01,
    lr_schedule="cosine",
    weight_decay=0.01,
    select="last",
)
ENOUGH: dict[str, Any] = {"epochs": 40, "lr": 0.02}  # to tell three classes apart


def tiny(**changes: Any) -> CiimSettings:
    return CiimSettings(**{**TINY.model_dump(), **changes})


def without_class(some: Blobs, name: str) -> Blobs:
    """The same samples but for those of a class, whose name is gone too."""
    classes = [one for one in some.classes if one != name]
    kept = np.flatnonzero(some.labels != list(some.classes).index(name))
    places = np.array([classes.index(one) if one in classes else -1 for one in some.classes])
    split = [some.split[row] for row in kept]
    return replace(
        some, features=some.features[kept], labels=places[some.labels[kept]], split=split, classes=tuple(classes)
    )


def renamed(some: Blobs, *classes: str) -> Blobs:
    return replace(some, classes=classes)


def with_splits(some: Blobs, *pattern: str) -> Blobs:
    """Row i is in split i modulo their number."""
    return replace(some, split=[pattern[row % len(pattern)] for row in range(len(some.split))])


def write(folder: Path, *some: Blobs) -> list[FeatureCache]:
    return [one.write(folder / one.modality) for one in some]


def write_tiny(folder: Path, *modalities: str, **options: Any) -> list[FeatureCache]:
    return write(folder, *(blobs(modality, **options) for modality in modalities))


def note(run: Path, modality: str = "text") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "branches" / f"{modality}.json").read_text(encoding="utf-8"))
    return found


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def retrieval(run: Path, split: str = "test", classes: Sequence[str] = ()) -> dict[str, float]:
    """Mean average precision by pair of modalities."""
    found = evaluate(embed_run(run, split, CPU, classes=list(classes) or None).items)
    return {pair: one.metrics["mAP@all"] for pair, one in found.pairs.items()}


def trained_files(run: Path) -> dict[str, bytes]:
    """Everything that was trained."""
    return files(run, "*.safetensors")


def ciim_error(caches: Sequence[FeatureCache], out: Path, settings: CiimSettings = TINY, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train(caches, out, settings, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
