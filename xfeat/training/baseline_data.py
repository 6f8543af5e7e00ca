"""Training rows of a baseline: which they are, and their features shard by shard, as often as they are asked for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.cache.columns import OK
from xfeat.errors import InputError
from xfeat.training.classes import listed
from xfeat.training.memory import memory_budget
from xfeat.training.resident import PIECE, InputScale, fit_scale
from xfeat.training.selection import select_rows


@dataclass(frozen=True)
class TrainRows:
    """Rows of split ``train`` of one modality.

    Attributes:
        cache: where they are.
        index: (n,) int64 places in it, ascending.
        labels: (n,) int64, or (n, C) uint8, of the classes that are trained on; None where labels play no part.
        left_out: rows of the split that are not among them, by the name that notes have for why.
    """

    cache: FeatureCache
    index: NDArray[np.int64]
    labels: NDArray[Any] | None = None
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def pieces(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Which of the rows, and their features (n, D) as they were cached, in order."""
        m = self.cache.manifest
        for shard in range(m.shards):
            start, stop = m.span(shard)
            low, high = np.searchsorted(self.index, [start, stop])
            if high > low:
                features = self.cache.features(shard)
                for first in range(int(low), int(high), PIECE):
                    part = slice(first, min(first + PIECE, int(high)))
                    yield part, features[self.index[part] - start]

    def scale(self, *, standardize: bool) -> InputScale:
        """Mean and deviation; the mean alone where they are not to be standardised."""
        found = fit_scale(lambda: (x for _, x in self.pieces()), self.cache.manifest.dim, True)
        return found if standardize else InputScale(found.mean, torch.ones_like(found.std))

    def scaled(self, scale: InputScale) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Which of the rows, and their scaled features in float64."""
        for part, x in self.pieces():
            yield part, scale(x).double().numpy()

    def table(self, scale: InputScale) -> NDArray[np.float64]:
        """All rows in one (n, D) array.

        Raises:
            InputError: the features are the same in all of them.
        """
        x = np.empty((len(self), self.cache.manifest.dim))
        for part, piece in self.scaled(scale):
            x[part] = piece
        if (x == x[:1]).all():
            raise InputError(
                f"{self.cache.path}: the features are the same in all {len(x):,} training rows: nothing can be told "
                "apart by them"
            )
        return x


def all_rows(cache: FeatureCache) -> TrainRows:
    """Every row of split ``train``, with a label or not.

    Raises:
        InputError: there is none.
    """
    kept = [
        (np.array(block.split) == "train") & (np.array(block.status) == OK)
        for block in cache.blocks(check=False, with_features=False)
    ]
    index = np.flatnonzero(np.concatenate(kept)).astype(np.int64)
    if not len(index):
        there = ", ".join(cache.manifest.counts.get("split", {})) or "none"
        raise InputError(f"{cache.path}: no rows in split 'train' (splits there: {there})")
    return TrainRows(cache, index)


def labelled_rows(cache: FeatureCache, classes: Sequence[str], chosen: Sequence[str]) -> TrainRows:
    """Rows of split ``train`` with a label; those of split ``val`` are left alone.

    Args:
        cache: of one modality.
        classes: of the run, in the run's order.
        chosen: classes that are trained on, which labels stand for; a row of another class too is left out.

    Raises:
        InputError: as ``select_rows``, or no row of the chosen classes.
    """
    found = select_rows(cache, classes)
    train = ~found.val
    index, labels = found.rows[train], found.labels[train]
    number = {name: place for place, name in enumerate(chosen)}
    places = np.array([number.get(name, -1) for name in classes], dtype=np.int64)
    if labels.ndim == 1:
        labels = places[labels]
        inside = labels >= 0
    else:
        inside = ~labels[:, places < 0].any(axis=1)
        labels = labels[:, [classes.index(name) for name in chosen]]
    if not inside.any():
        raise InputError(f"{cache.path}: no training row is of the chosen classes ({listed(chosen, 60)})")
    left_out = {"unlabelled_rows": found.unlabelled, "outside_rows": int((~inside).sum())}
    return TrainRows(cache, index[inside], labels[inside], left_out)


def targets(labels: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """(n, C) that sum to 1 in every row, from (n,) int64 or (n, C) uint8 labels."""
    if labels.ndim == 1:
        return np.asarray(labels[:, None] == np.arange(classes), dtype=np.float64)
    shares: NDArray[np.float64] = labels / labels.sum(axis=1, keepdims=True)
    return shares


def check_memory(words: str, need: int, what: Callable[[], str]) -> None:
    """Refuse what does not fit.

    Raises:
        InputError: more bytes than the setting ``memory`` allows.
    """
    limit = memory_budget(words, torch.device("cpu"))
    if need > limit:
        raise InputError(
            f"{what()} would take {need >> 20:,} MB and may take {limit >> 20:,}: raise it (--set memory=...), or "
            "cache fewer dimensions"
        )
