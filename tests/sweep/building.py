"""Sweeps of trainings that take an instant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.training.building import blobs
from xfeat.cache import FeatureCache

QUICK = {
    "hidden": 8,
    "out": 8,
    "batch_size": 16,
    "prior": "orthogonal",
    "epochs": 3,
    "dropout": 0.0,
    "input_noise": 0.0,
}


def write_config(folder: Path, **changes: Any) -> Path:
    """A grid of two learning rates by two weights on the caches ``image`` and ``text`` beside the file."""
    document = {
        "method": "drcl",
        "caches": ["image", "text"],
        "settings": QUICK,
        "space": {"lr": [0.0001, 0.1], "eta": [1.0, 0.5]},
        **changes,
    }
    file = folder / f"sweep{len(list(folder.glob('*.yaml')))}.yaml"
    file.write_text(yaml.safe_dump({name: value for name, value in document.items() if value is not None}))
    return file


def write_caches(folder: Path, *, val: bool = True, spoilt: Sequence[str] = ()) -> list[FeatureCache]:
    """Image and text; rows of the ``spoilt`` splits have other features and wrong labels."""
    made = []
    for name in ("image", "text"):
        some = blobs(name, val=val)
        rows = np.flatnonzero(np.isin(some.split, spoilt))
        some.labels[rows] = (some.labels[rows] + 1 + np.arange(len(rows)) % 2) % 3
        some.features[rows] = some.features[rows][::-1] * 100 - 7
        made.append(some.write(folder / name))
    return made
