"""What the checks know of a cache, read once: its columns, a key for each row's features, and a sample of these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import OK, Block, FeatureCache
from xfeat.cache.keys import source_keys
from xfeat.checking.measures import Dimensions, Measuring, row_keys
from xfeat.checking.report import Place

TRAIN, VAL, TEST = "train", "val", "test"
USED = (TRAIN, VAL, TEST)
Keys = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Some rows with their features, in an order that does not depend on the cache's.

    Attributes:
        rows: (k,) places among the rows.
        features: (k, D) float32.
        of: how many rows there are to choose from.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    of: int


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a cache that did not fail.

    Attributes:
        name: what the report calls the cache.
        dim: D.
        classes: names in label order.
        ids: (n,).
        split: (n,) strings.
        labels: (n,) int64 or (n, C) uint8; None without labels.
        pair: (n,) pair keys; None in unpaired data.
        content: (n,) keys of the samples' bytes, 0 where unknown.
        features: (n,) keys of the feature rows, 0 for rows of zeros; None where features were not read.
        label_keys: (n,) keys of the class names, 0 without a label.
        train: training rows.
        others: rows of val and test.
        dimensions: over training rows, or over all rows where there are none; None where features were not read.
        failed: rows that are left out.
    """

    name: str
    dim: int
    classes: tuple[str, ...]
    ids: list[str]
    split: NDArray[np.str_]
    labels: NDArray[Any] | None
    pair: list[str] | None
    content: Keys
    features: Keys | None
    label_keys: Keys
    train: Sample
    others: Sample
    dimensions: Dimensions | None
    failed: int

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, split: str) -> NDArray[np.bool_]:
        """(n,) rows of a split."""
        mine: NDArray[np.bool_] = self.split == split
        return mine

    def splits(self) -> dict[str, int]:
        """Rows by split: train, val and test first, then by name."""
        names, counts = np.unique(self.split, return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        return {name: found[name] for name in sorted(found, key=lambda name: (name not in USED, _place(name), name))}

    def place(self, row: int) -> Place:
        """A row as reports name it."""
        return Place(self.name, self.ids[row], str(self.split[row]), label_of(self.labels, self.classes, row))


def label_of(labels: NDArray[Any] | None, classes: Sequence[str], row: int) -> str | None:
    """The class of a row, or its classes joined by ``|``; None without a label."""
    if labels is None:
        return None
    found = [labels[row]] if labels.ndim == 1 else np.flatnonzero(labels[row])
    return "|".join(classes[int(label)] for label in found if label >= 0) or None


def read_rows(
    cache: FeatureCache,
    name: str,
    rows: int,
    others: int,
    *,
    with_features: bool = True,
    check: bool = True,
    advance: Callable[[], None] = lambda: None,
) -> Rows:
    """Read a cache: first its columns, then its features, shard by shard.

    Args:
        cache: the cache.
        name: what the report calls it.
        rows: training rows to keep at most, always the same ones.
        others: rows of val and test to keep at most.
        with_features: read the features; otherwise what rests on them is None or empty.
        check: compare features with their checksums.
        advance: called after each shard.

    Raises:
        InputError: a shard is missing, truncated or damaged.
    """
    whole = cache.load(ok_only=False, check=check, with_features=False)
    ok = np.array([status == OK for status in whole.status], bool)
    block = whole.select(ok)
    split = np.array(block.split, np.str_) if len(block) else np.empty(0, "U5")
    train, rest = split == TRAIN, (split == VAL) | (split == TEST)
    most = (rows, others) if with_features else (0, 0)
    chosen, compared = (_chosen(block.ids, some, k) for some, k in zip((train, rest), most, strict=True))
    dim = cache.manifest.dim
    samples = [np.zeros((len(some), dim), np.float32) for some in (chosen, compared)]
    keys = np.zeros(len(block), np.uint64)
    measuring = Measuring(dim)
    measured = train if train.any() else np.ones(len(block), bool)
    if with_features:
        filled = 0
        for shard in range(cache.manifest.shards):
            start, stop = cache.manifest.span(shard)
            part = cache.features(shard, check=check)[ok[start:stop]]
            here = slice(filled, filled + len(part))
            keys[here] = row_keys(part)
            measuring.add(part[measured[here]])
            for sample, places in zip(samples, (chosen, compared), strict=True):
                inside = np.flatnonzero((places >= here.start) & (places < here.stop))
                sample[inside] = part[places[inside] - here.start]
            filled = here.stop
            advance()
    return Rows(
        name,
        dim,
        tuple(cache.manifest.classes),
        block.ids,
        split,
        block.labels,
        block.pair,
        _content(block),
        keys if with_features else None,
        _label_keys(block, cache.manifest.classes),
        Sample(chosen, samples[0], int(train.sum())),
        Sample(compared, samples[1], int(rest.sum())),
        measuring.dimensions() if with_features else None,
        len(whole) - len(block),
    )


def _place(name: str) -> int:
    return USED.index(name) if name in USED else 0


def _chosen(ids: Sequence[str], wanted: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Rows in the order of their ids' keys: random, and the same in whatever order the cache holds them."""
    places = np.flatnonzero(wanted) if most else np.empty(0, np.int64)
    order = np.argsort(source_keys([ids[place] for place in places.tolist()]), kind="stable")
    return places[order[:most]]


def _content(block: Block) -> Keys:
    if block.content is None:
        return np.zeros(len(block), np.uint64)
    # Half of a BLAKE2b-128 is as good a key.
    return np.ascontiguousarray(block.content[:, :8]).view(np.uint64).ravel()


def _label_keys(block: Block, classes: Sequence[str]) -> Keys:
    labels = block.labels
    if labels is None or not len(labels):
        return np.zeros(len(block), np.uint64)
    if labels.ndim == 1:
        named: Keys = np.append(source_keys(list(classes)), np.uint64(0))[labels]
        return named
    different, inverse = np.unique(labels, axis=0, return_inverse=True)
    names = [label_of(different, classes, row) for row in range(len(different))]
    keys = source_keys([name or "" for name in names])
    keys[[row for row, name in enumerate(names) if name is None]] = 0
    found: Keys = keys[inverse.ravel()]
    return found
