"""Makes small caches without any fault, to plant one in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xfeat.cache import CacheWriter, Columns, FeatureCache, Plan
from xfeat.checking.report import Finding
from xfeat.checking.rows import Rows, read_rows

CLASSES = ("ant", "bee", "cow")
SPLITS = ("train", "train", "train", "val", "test", "test")


@dataclass
class Field:
    """Samples of one modality; every attribute may be changed before it is written."""

    modality: str
    features: np.ndarray
    split: list[str]
    labels: np.ndarray | None
    ids: list[str]
    pair: list[str] | None = None
    content: np.ndarray | None = None
    status: list[str] | None = None
    classes: Sequence[str] = CLASSES

    def write(self, folder: Path, *, dtype: str = "float32", shard_rows: int = 64) -> FeatureCache:
        classes = self.classes if self.labels is not None else ()
        columns = Columns(self.ids, self.split, classes, self.labels, self.pair)
        plan = Plan(self.modality, {"test": "field"}, self.features.shape[1], columns, dtype, shard_rows=shard_rows)
        path = folder / self.modality
        with CacheWriter(path, plan) as writer:
            for shard in list(writer.missing):
                rows = slice(*writer.manifest.span(shard))
                status = None if self.status is None else self.status[rows]
                content = None if self.content is None else self.content[rows]
                writer.write(shard, self.features[rows], status, content=content)
            writer.finish()
        return FeatureCache(path)

    def of(self, split: str) -> list[int]:
        """Rows of a split."""
        return [row for row, name in enumerate(self.split) if name == split]

    def shuffled(self, order: np.ndarray) -> "Field":
        """The same samples in another order."""

        def pick(column: list[str] | None) -> list[str] | None:
            return None if column is None else [column[row] for row in order]

        return Field(
            self.modality,
            self.features[order],
            pick(self.split) or [],
            None if self.labels is None else self.labels[order],
            pick(self.ids) or [],
            pick(self.pair),
            None if self.content is None else self.content[order],
            pick(self.status),
            self.classes,
        )


def clean(modality: str = "image", *, rows: int = 60, dim: int = 12, seed: int = 0) -> Field:
    """Classes far apart, every row of its own, a fifth of the rows in each of two other splits."""
    rng = np.random.default_rng([seed, *modality.encode()])
    labels = np.arange(rows) // len(SPLITS) % len(CLASSES)
    features = (4 * rng.normal(size=(len(CLASSES), dim))[labels] + rng.normal(size=(rows, dim))).astype(np.float32)
    split = [SPLITS[row % len(SPLITS)] for row in range(rows)]
    ids = [f"{modality}/{row:03d}" for row in range(rows)]
    return Field(modality, features, split, labels.astype(np.int64), ids)


def keys(rows: int, seed: int = 0) -> np.ndarray:
    """Content keys, all different."""
    return np.random.default_rng(seed).integers(1, 256, (rows, 16), dtype=np.uint8)


def read(cache: FeatureCache, name: str = "", most: int = 1000) -> Rows:
    return read_rows(cache, name or cache.manifest.modality, most, most)


def kinds(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """What was found, as (severity, kind)."""
    return [(finding.severity, finding.kind) for finding in findings]
