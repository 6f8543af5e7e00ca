"""Which rows of a cache one branch trains on and which choose its epoch. Test rows are never among them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.cache.columns import OK
from xfeat.errors import InputError
from xfeat.training.classes import class_columns, class_indices, multi_hot
from xfeat.training.seeds import stream_seed


@dataclass(frozen=True)
class Selection:
    """Labelled rows of the splits ``train`` and ``val``.

    Attributes:
        rows: (n,) int64 places in the cache, ascending.
        labels: (n,) int64, or (n, C) uint8 multi-hot; in the run's class order, every row with a class.
        val: (n,) bool, rows that choose the epoch; the others are trained on.
        classes: C.
        unlabelled: rows left out because they have no label.
    """

    rows: NDArray[np.int64]
    labels: NDArray[Any]
    val: NDArray[np.bool_]
    classes: int
    unlabelled: int

    def counts(self) -> NDArray[np.float32]:
        """(C,) training rows of each class; a row of k classes counts 1/k for each."""
        labels = self.labels[~self.val]
        if labels.ndim == 1:
            return np.bincount(labels, minlength=self.classes).astype(np.float32)
        shares: NDArray[np.float32] = (labels / labels.sum(axis=1, keepdims=True)).sum(axis=0).astype(np.float32)
        return shares

    def held_out(self, fraction: float, modality: str, seed: int) -> "Selection":
        """The same rows with ``fraction`` of them to validate on, where no row is yet; every modality draws its own."""
        if self.val.any() or not fraction:
            return self
        held = stream_seed(seed, modality, "held-out")
        first = self.labels if self.labels.ndim == 1 else self.labels.argmax(axis=1)
        return replace(self, val=_hold_out(first, self.classes, fraction, held))


def select_rows(cache: FeatureCache, classes: Sequence[str]) -> Selection:
    """Read splits and labels of a cache, not its features.

    Args:
        cache: the modality's cache; it may lack some of the classes.
        classes: the run's classes, in the run's order.

    Raises:
        InputError: no labels, classes that are none of the run's, or no labelled training row.
    """
    if cache.manifest.label_kind == "none":
        raise InputError(f"{cache.path} has no labels: training needs them (a `label` column in the manifest)")
    columns = class_columns(cache.manifest.classes, classes, str(cache.path))
    rows, labels, val, start, bare = [], [], [], 0, 0
    for block in cache.blocks(check=False, with_features=False):
        usable = np.array([s in ("train", "val") for s in block.split]) & np.array([w == OK for w in block.status])
        found = _own_order(block.labels, columns)
        has = found >= 0 if found.ndim == 1 else found.any(axis=1)
        bare += int((usable & ~has).sum())
        kept = np.flatnonzero(usable & has)
        rows.append(kept + start)
        labels.append(found[kept])
        val.append(np.array(block.split)[kept] == "val")
        start += len(block)
    selection = Selection(np.concatenate(rows), np.concatenate(labels), np.concatenate(val), len(classes), bare)
    if not (~selection.val).any():
        there = ", ".join(cache.manifest.counts.get("split", {})) or "none"
        what = f" with a label ({bare} rows have none)" if bare else f" (splits there: {there})"
        raise InputError(f"{cache.path}: no rows in split 'train'{what}")
    return selection


def _own_order(labels: NDArray[Any] | None, columns: Sequence[int]) -> NDArray[Any]:
    assert labels is not None  # the manifest says that there are labels, and shards are checked against it
    return class_indices(labels, columns) if labels.ndim == 1 else multi_hot(labels, columns).astype(np.uint8)


def _hold_out(first: NDArray[Any], classes: int, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Rows to validate on: ``fraction`` of all, spread over the classes by size, never the last row of a class.

    A multi-label row counts for its first class.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(first, minlength=classes)
    most = np.maximum(counts - 1, 0)
    wanted = min(int(most.sum()), max(1, round(fraction * len(first))))
    taken = np.minimum(np.floor(fraction * counts).astype(int), most)
    # What rounding down left over goes to the classes it cost most, at random among equals.
    cost = fraction * counts - taken + rng.uniform(0, 1e-6, len(counts))
    for label in np.argsort(-cost):
        if taken.sum() >= wanted:
            break
        taken[label] += taken[label] < most[label]
    held = np.zeros(len(first), dtype=bool)
    for label in np.flatnonzero(taken):
        held[rng.permutation(np.flatnonzero(first == label))[: taken[label]]] = True
    if not held.any():
        raise InputError("every class has one training row: nothing can be held out to validate on; add a val split")
    return held
