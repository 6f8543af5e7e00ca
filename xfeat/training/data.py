"""From a cache to the rows one branch trains on. Test rows are never read here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache import Block, FeatureCache
from xfeat.errors import InputError
from xfeat.methods.base import BranchData, Rows
from xfeat.training.seeds import stream_seed

PIECE = 8192  # rows


@dataclass(frozen=True)
class InputScale:
    """Per-dimension mean and deviation of the training rows, stored with the branch.

    Attributes:
        mean: (D,) float32.
        std: (D,) float32, 1 where a dimension is constant.
    """

    mean: Tensor
    std: Tensor

    def __call__(self, features: NDArray[Any]) -> Tensor:
        """Scaled (n, D) float32."""
        rows = torch.from_numpy(features.astype(np.float32))
        return rows.sub_(self.mean).div_(self.std)  # in place: the copy is the only one


def fit_scale(features: NDArray[Any], standardize: bool) -> InputScale:
    """The scale of (n, D) training features; the identity where ``standardize`` is off."""
    dim = features.shape[1]
    if not standardize:
        return InputScale(torch.zeros(dim), torch.ones(dim))
    # Two passes in float64, a piece at a time: exact, and no float64 copy of everything.
    pieces = [features[start : start + PIECE] for start in range(0, len(features), PIECE)]
    mean = sum(piece.sum(axis=0, dtype=np.float64) for piece in pieces) / len(features)
    std = np.sqrt(sum(np.square(piece - mean).sum(axis=0) for piece in pieces) / len(features))
    std[std <= 1e-8 * np.maximum(1.0, np.abs(mean))] = 1.0
    return InputScale(torch.from_numpy(mean).float(), torch.from_numpy(std).float())


def load_branch_data(
    cache: FeatureCache,
    classes: Sequence[str],
    *,
    standardize: bool,
    val_fraction: float,
    seed: int,
    device: torch.device,
) -> tuple[BranchData, InputScale]:
    """Training and validation rows of one modality on the device.

    Where the cache has no val split, a part of train is held out, class by class, drawn from the modality's own stream.

    Args:
        cache: the modality's cache.
        classes: the run's classes, in the run's order.
        standardize: scale inputs by the training rows' statistics.
        val_fraction: share of train to hold out.
        seed: of the run.
        device: where the rows go.

    Raises:
        InputError: no labels, no training rows, a row without a label, or classes that differ from the run's.
    """
    modality = cache.manifest.modality
    block = cache.load(("train", "val"))
    targets, train, val = _labelled_rows(cache, block, classes)
    if not val.any():
        val = _hold_out(targets, val_fraction, stream_seed(seed, modality, "held-out"))
        train = ~val
    scale = fit_scale(block.features[train], standardize)

    def rows(keep: NDArray[np.bool_]) -> Rows:
        return Rows(scale(block.features[keep]).to(device), torch.from_numpy(targets[keep]).to(device))

    return BranchData(modality, rows(train), rows(val)), scale


def check_rows(cache: FeatureCache, classes: Sequence[str]) -> None:
    """Everything ``load_branch_data`` would refuse, before anything is trained.

    Raises:
        InputError: as ``load_branch_data``.
    """
    _labelled_rows(cache, cache.load(("train", "val"), with_features=False, check=False), classes)


def class_columns(have: Sequence[str], want: Sequence[str], where: str) -> list[int]:
    """Where each wanted class stands among those a cache has: classes are matched by name, not by position.

    Raises:
        InputError: the sets of names differ; both differences are named.
    """
    if set(have) != set(want):
        extra = ", ".join(repr(name) for name in have if name not in set(want)) or "none"
        missing = ", ".join(repr(name) for name in want if name not in set(have)) or "none"
        raise InputError(
            f"{where}: classes differ from those it must meet (only here: {extra}; missing here: {missing}): "
            "class names must be the same everywhere"
        )
    positions = {name: number for number, name in enumerate(have)}
    return [positions[name] for name in want]


def multi_hot(labels: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float32]:
    """(n, C) float32 targets in the run's class order, from int64 indices (-1: none) or uint8 multi-hot labels."""
    if labels.ndim == 1:
        hot = np.zeros((len(labels), len(columns)), dtype=np.float32)
        known = labels >= 0
        hot[np.flatnonzero(known), labels[known]] = 1
    else:
        hot = labels.astype(np.float32)
    return hot[:, list(columns)]


def _labelled_rows(
    cache: FeatureCache, block: Block, classes: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Targets of the rows of train and val, and which are which."""
    targets = _targets(cache, block, classes)
    split = np.array(block.split)
    train, val = split == "train", split == "val"
    if not train.any():
        there = ", ".join(cache.manifest.counts.get("split", {})) or "none"
        raise InputError(f"{cache.path}: no rows in split 'train' (splits there: {there})")
    return targets, train, val


def _targets(cache: FeatureCache, block: Block, classes: Sequence[str]) -> NDArray[np.float32]:
    if block.labels is None:
        raise InputError(f"{cache.path} has no labels: training needs them (a `label` column in the manifest)")
    targets = multi_hot(block.labels, class_columns(cache.manifest.classes, classes, str(cache.path)))
    bare = np.flatnonzero(targets.sum(axis=1) == 0)
    if bare.size:
        row = int(bare[0])
        raise InputError(
            f"{cache.path}: sample {block.ids[row]!r} in split {block.split[row]!r} has no label "
            f"({bare.size} without one): label it, or give it another split"
        )
    # A sample of several classes weighs as much as one of a single class, in every loss.
    scaled: NDArray[np.float32] = targets / targets.sum(axis=1, keepdims=True)
    return scaled


def _hold_out(targets: NDArray[np.float32], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Rows to validate on: ``fraction`` of all, spread over the classes by size, never the last row of a class.

    A multi-label row counts for its first class.
    """
    rng = np.random.default_rng(seed)
    first = targets.argmax(axis=1)
    counts = np.bincount(first, minlength=targets.shape[1])
    most = np.maximum(counts - 1, 0)
    wanted = min(int(most.sum()), max(1, round(fraction * len(targets))))
    taken = np.minimum(np.floor(fraction * counts).astype(int), most)
    # What rounding down left over goes to the classes it cost most, at random among equals.
    cost = fraction * counts - taken + rng.uniform(0, 1e-6, len(counts))
    for label in np.argsort(-cost):
        if taken.sum() >= wanted:
            break
        taken[label] += taken[label] < most[label]
    held = np.zeros(len(targets), dtype=bool)
    for label in np.flatnonzero(taken):
        held[rng.permutation(np.flatnonzero(first == label))[: taken[label]]] = True
    if not held.any():
        raise InputError("every class has one training row: nothing can be held out to validate on; add a val split")
    return held
