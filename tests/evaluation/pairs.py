"""Makes small caches of paired samples: an instance is a point around its class, seen by each modality."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.cache.building import write_cache
from xfeat.cache import Columns, FeatureCache, Plan
from xfeat.methods.sspc_settings import SspcSettings

CLASSES = ("ant", "bee", "cow", "dog")
WIDTHS = {"image": 12, "text": 9, "audio": 7}
QUICK = SspcSettings(input_dim=16, joint_dim=8, anchors=8, epochs=4, batch_size=24, queue=24, lr=0.01, ema=0.8)


@dataclass(frozen=True)
class Paired:
    """Rows of one modality: everything a test may want to change before it is written."""

    modality: str
    features: np.ndarray
    labels: np.ndarray | None
    split: list[str]
    keys: list[str] | None
    fingerprint: dict[str, Any]
    classes: Sequence[str] = CLASSES

    def write(self, path: Path) -> FeatureCache:
        ids = [f"{self.modality}/{row:03d}" for row in range(len(self.features))]
        classes = self.classes if self.labels is not None else ()
        columns = Columns(ids, self.split, classes, self.labels, self.keys)
        plan = Plan(self.modality, self.fingerprint, self.features.shape[1], columns, shard_rows=64)
        return write_cache(path, plan, self.features)

    def rows(self, keep: Sequence[int]) -> "Paired":
        """Some of the rows."""
        at = np.asarray(keep)
        labels = None if self.labels is None else self.labels[at]
        keys = None if self.keys is None else [self.keys[row] for row in at]
        split = [self.split[row] for row in at]
        return replace(self, features=self.features[at], labels=labels, split=split, keys=keys)


def paired(modality: str, *, instances: int = 96, seed: int = 0) -> Paired:
    """Every third row is for testing; the classes follow each other."""
    rng = np.random.default_rng(seed)
    labels = np.arange(instances) // 3 % len(CLASSES)
    latent = 2 * rng.normal(size=(len(CLASSES), 5))[labels] + rng.normal(size=(instances, 5))
    own = np.random.default_rng(zlib.crc32(modality.encode()))
    features = latent @ own.normal(size=(5, WIDTHS[modality])) + 0.1 * own.normal(size=(instances, WIDTHS[modality]))
    split = ["test" if row % 3 == 0 else "train" for row in range(instances)]
    keys = [f"i{row}" for row in range(instances)]
    return Paired(modality, features.astype(np.float32), labels.astype(np.int64), split, keys, {"backbone": "pairs"})


def write_paired(folder: Path, *modalities: str) -> list[FeatureCache]:
    """A cache per modality in ``folder``."""
    return [paired(modality).write(folder / modality) for modality in modalities]
