"""The rows of a cache that leave it, shard by shard."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from xfeat.cache.block import Block
from xfeat.cache.columns import OK
from xfeat.cache.reader import FeatureCache
from xfeat.errors import InputError

SEPARATOR = "|"  # between the classes of one sample, in a text cell


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        paths: the files, or the one folder.
        rows: rows written.
        left_out: failed rows of the splits asked for; they have no features.
        notes: what a reader should know, one line each.
    """

    paths: tuple[Path, ...]
    rows: int
    left_out: int
    notes: tuple[str, ...] = ()


class Outgoing:
    """The rows of a cache that have features, of all splits or of some.

    Args:
        cache: the cache.
        splits: names of splits; None takes all rows.

    Attributes:
        cache: the cache.
        columns: all n rows without their features and tokens.
        left_out: failed rows of these splits.

    Raises:
        InputError: a split that the cache does not have, no row with features, or a damaged shard.
    """

    def __init__(self, cache: FeatureCache, splits: Collection[str] | None = None) -> None:
        counts = cache.manifest.counts["split"]
        for name in splits or ():
            if name not in counts:
                raise InputError(f"{cache.path} has no split {name!r}; it has: {', '.join(counts)}")
        self.cache, self._splits = cache, splits
        self.columns = cache.load(splits, with_features=False)
        asked = cache.manifest.rows if splits is None else sum(counts[name] for name in set(splits))
        self.left_out = asked - len(self.columns)
        if not len(self.columns):
            raise InputError(f"{cache.path}: no row has features (`xfeat cache info` says why): nothing to export")

    def __len__(self) -> int:
        return len(self.columns)

    def blocks(self, *, with_features: bool = True, with_tokens: bool = False) -> Iterator[Block]:
        """The rows, a shard in memory at a time; shards without any of them are passed over."""
        for block in self.cache.blocks(with_features=with_features, with_tokens=with_tokens):
            keep = np.array([word == OK for word in block.status], dtype=bool)
            if self._splits is not None:
                keep &= np.array([name in self._splits for name in block.split], dtype=bool)
            if keep.any():
                yield block.select(keep)


def class_names(block: Block, classes: list[str]) -> list[list[str]]:
    """The names of each row's classes, none or many, of a cache that has labels."""
    labels = block.labels
    if labels is None:
        raise ValueError("a block without labels")
    if labels.ndim == 1:
        return [[classes[label]] if label >= 0 else [] for label in labels.tolist()]
    return [[classes[label] for label in np.flatnonzero(row).tolist()] for row in labels]


def check_file(path: Path, suffix: str) -> None:
    """Check the name of a file to be written.

    Raises:
        InputError: it ends in something else, or its folder does not exist.
    """
    if path.suffix.lower() != suffix:
        raise InputError(f"--out {path}: the name must end in {suffix}")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist")


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: str) -> None:
    """The header of a .npy whose rows are written after it, C-contiguous."""
    described = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": described, "fortran_order": False, "shape": shape})
