"""Makes small labelled caches of blobs, one per modality, that share classes and no samples."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cache.building import write_cache
from xfeat.cache import Columns, FeatureCache, Plan
from xfeat.errors import InputError
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.training.drcl import train

CLASSES = ("ant", "bee", "cow")
WIDTHS = {"image": 12, "text": 7, "audio": 5}
TINY = DrclSettings(hidden=16, out=12, batch_size=16, spl_epochs=4, spl_lr=0.03, epochs=6, lr=0.03)
# The form of the paper, where TINY leaves that of size=small.
PUBLISHED: dict[str, Any] = {
    "layers": 2,
    "bias_length": 0.0,
    "logit_scale": 1.0,
    "q_max": 1.0,
    "input_noise": 0.0,
    "embedding": "unit",
    "select": "loss",
}
MODALITIES = ("image", "text", "audio")
LONGER = TINY.model_copy(update={"spl_epochs": 25, "epochs": 35})


@dataclass(frozen=True)
class Blobs:
    """Samples of one modality: everything a test may want to change before it is written."""

    modality: str
    features: np.ndarray
    labels: np.ndarray
    split: list[str]
    classes: Sequence[str] = CLASSES
    backbone: str = "blobs"

    def write(self, path: Path, *, shard_rows: int = 32) -> FeatureCache:
        ids = [f"{self.modality}/{row:03d}" for row in range(len(self.features))]
        columns = Columns(ids, self.split, self.classes if self.labels is not None else (), self.labels)
        plan = Plan(self.modality, {"backbone": self.backbone}, self.features.shape[1], columns, shard_rows=shard_rows)
        return write_cache(path, plan, self.features)

    def with_classes(self, order: Sequence[str]) -> "Blobs":
        """The same samples with the class names in another order."""
        places = np.array([list(order).index(name) for name in self.classes])
        return replace(self, classes=tuple(order), labels=places[self.labels])


def blobs(modality: str, *, rows: int = 60, noise: float = 0.4, val: bool = False, seed: int = 0) -> Blobs:
    """Gaussian blobs around one centre per class; every third row (with ``val``: every sixth) is for testing."""
    rng = np.random.default_rng(seed + zlib.crc32(modality.encode()))
    width = WIDTHS.get(modality, 6)
    labels = np.arange(rows) % len(CLASSES)
    rng.shuffle(labels)
    features = (rng.normal(size=(len(CLASSES), width))[labels] + noise * rng.normal(size=(rows, width))) * 3 + 5
    split = [("test", "train", "train", "val" if val else "test", "train", "train")[row % 6] for row in range(rows)]
    return Blobs(modality, features.astype(np.float32), labels.astype(np.int64), split)


def multi_label_blobs(modality: str, *, rows: int = 90, noise: float = 0.3) -> Blobs:
    """Every row has one class or two, and is the sum of their centres."""
    rng = np.random.default_rng(zlib.crc32(modality.encode()))
    width = WIDTHS[modality]
    hot = np.zeros((rows, len(CLASSES)), np.uint8)
    for row in range(rows):
        hot[row, rng.permutation(len(CLASSES))[: 1 + row % 2]] = 1
    features = hot @ (3 * rng.normal(size=(len(CLASSES), width))) + noise * rng.normal(size=(rows, width))
    return Blobs(
        modality, features.astype(np.float32), hot, ["test" if row % 3 == 0 else "train" for row in range(rows)]
    )


def write_blobs(folder: Path, *modalities: str) -> list[FeatureCache]:
    """A cache per modality in ``folder``."""
    return [blobs(modality).write(folder / modality) for modality in modalities]


def files(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """Contents of the files under a folder, by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob(pattern)) if p.is_file()}


def settings(**changes: Any) -> DrclSettings:
    return DrclSettings(**{**TINY.model_dump(), **changes})


def against(run: Path) -> DrclSettings:
    return settings(prior=str(run / "prior.safetensors"))


def log_rows(run: Path) -> list[tuple[str, str, int]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["modality"], row["stage"], row["epoch"]) for row in rows]


def train_error(caches: Sequence[FeatureCache], out: Path, settings: DrclSettings = TINY, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        train(caches, out, settings, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
