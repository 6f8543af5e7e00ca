"""Caches of blobs that grew: the rows of before, in their places, and rows of new classes behind them."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.training.building import CLASSES, Blobs, blobs
from xfeat.cache import FeatureCache


def grown(
    modality: str, new: Sequence[str] = ("asp",), *, rows: int = 20, noise: float = 0.4, val: bool = False
) -> Blobs:
    """The blobs of ``blobs`` and ``rows`` of each new class; every third row is for testing."""
    old = blobs(modality, noise=noise, val=val)
    width = old.features.shape[1]
    features, labels, split = [old.features], [old.labels], list(old.split)
    for number, name in enumerate(new):
        rng = np.random.default_rng(zlib.crc32(f"{modality} {name}".encode()))
        features.append((rng.normal(size=width) + noise * rng.normal(size=(rows, width))) * 3 + 5)
        labels.append(np.full(rows, len(CLASSES) + number))
        split += [
            ("test", "train", "train", "val" if val else "test", "train", "train")[row % 6] for row in range(rows)
        ]
    return replace(
        old,
        features=np.concatenate(features).astype(np.float32),
        labels=np.concatenate(labels),
        split=split,
        classes=(*CLASSES, *new),
    )


def only(some: Blobs, names: Sequence[str]) -> Blobs:
    """The rows of some classes."""
    rows = np.flatnonzero(np.isin(np.array(some.classes)[some.labels], names))
    labels = np.array([list(names).index(some.classes[label]) for label in some.labels[rows]])
    split = [some.split[row] for row in rows]
    return replace(some, features=some.features[rows], labels=labels, split=split, classes=tuple(names))


def write_grown(folder: Path, *modalities: str, new: Sequence[str] = ("asp",)) -> list[FeatureCache]:
    return [grown(modality, new).write(folder / modality) for modality in modalities]
