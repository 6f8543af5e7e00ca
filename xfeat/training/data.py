"""From a cache to the rows one branch trains on: on the device where they fit, streamed from disk where they do not."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfeat.cache import FeatureCache
from xfeat.errors import InputError
from xfeat.methods.base import BranchData
from xfeat.progress import Advance, progress
from xfeat.training.resident import PIECE, InputScale, ResidentRows, Table, fit_scale
from xfeat.training.selection import Selection, select_rows
from xfeat.training.streaming import StreamedRows


class ModalityRows:
    """The usable rows of one modality's cache, read once for any number of seeds.

    Args:
        cache: the modality's cache.
        classes: the run's classes, in the run's order.
        device: where batches go.
        memory: bytes that features may take; a larger cache is streamed.

    Raises:
        InputError: as ``select_rows``, or a damaged shard.
    """

    def __init__(self, cache: FeatureCache, classes: Sequence[str], device: torch.device, memory: int) -> None:
        self.cache, self.device, self.memory = cache, device, memory
        self.selection = select_rows(cache, classes)
        self.streamed = is_larger(cache, len(self.selection.rows), memory)
        self.table = None if self.streamed else self._table()

    def branch_data(
        self, *, standardize: bool, val_fraction: float, seed: int, scale: InputScale | None = None
    ) -> tuple[BranchData, InputScale]:
        """Training and validation rows of one seed.

        Where the cache has no val split, a part of train is held out, class by class, drawn from the modality's own
        stream.

        Args:
            standardize: scale inputs by the training rows' statistics.
            val_fraction: share of train to hold out; 0 leaves no rows to validate on.
            seed: of the run.
            scale: of the inputs, where it is not to be taken from these rows.

        Raises:
            InputError: nothing can be held out.
        """
        modality = self.cache.manifest.modality
        selection = self.selection.held_out(val_fraction, modality, seed)
        train = ~selection.val
        scale = scale or fit_scale(lambda: self._pieces(selection, train), self.cache.manifest.dim, standardize)
        counts = torch.from_numpy(selection.counts()).to(self.device)
        if self.table is None:
            rows = [
                StreamedRows(self.cache, selection, mine, scale, self.device, self.memory)
                for mine in (train, selection.val)
            ]
            return BranchData(modality, rows[0], rows[1], counts, selection.unlabelled), scale
        on_device = scale.to(self.device)
        index = [torch.from_numpy(np.flatnonzero(mine)).to(self.device) for mine in (train, selection.val)]
        train_rows, val_rows = (ResidentRows(self.table, rows, on_device) for rows in index)
        return BranchData(modality, train_rows, val_rows, counts, selection.unlabelled), scale

    def _table(self) -> Table:
        m, rows = self.cache.manifest, self.selection.rows
        features = np.empty((len(rows), m.dim), m.dtype)
        for part, piece in features_of(self.cache, rows):
            features[part] = piece
        # Labels stay as they are: a float row of C targets for each would take more than its features.
        labels = torch.from_numpy(self.selection.labels)
        return Table(torch.from_numpy(features).to(self.device), labels.to(self.device), self.selection.classes)

    def _pieces(self, selection: Selection, mine: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
        if self.table is not None:
            index = np.flatnonzero(mine)
            for start in range(0, len(index), PIECE):
                piece: NDArray[Any] = self.table.features[torch.from_numpy(index[start : start + PIECE])].cpu().numpy()
                yield piece
            return
        m = self.cache.manifest
        with progress(f"{m.modality} statistics", m.shards) as advance:
            for _, piece in features_of(self.cache, selection.rows[mine], advance):
                yield piece


def is_larger(cache: FeatureCache, rows: int, memory: int) -> bool:
    """Whether so many rows of a cache take more bytes than ``memory``."""
    return rows * cache.manifest.dim * np.dtype(cache.manifest.dtype).itemsize > memory


def check_rows(cache: FeatureCache, classes: Sequence[str]) -> None:
    """Everything that would be refused about a cache's training rows, before anything is trained.

    Raises:
        InputError: as ``select_rows``, or features that are the same in all of them.
    """
    selection = select_rows(cache, classes)
    rows, first = selection.rows[~selection.val], None
    for _, piece in features_of(cache, rows, check=False):  # checked when they are trained on
        first = piece[:1] if first is None else first
        if (piece != first).any():
            return
    if len(rows) > 1:
        raise InputError(
            f"{cache.path}: the features are the same in all {len(rows):,} training rows: nothing can be told apart by "
            "them"
        )


def features_of(
    cache: FeatureCache, rows: NDArray[np.int64], advance: Advance | None = None, *, check: bool = True
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Features of some rows, ascending, in pieces, each with its place among them; ``advance`` counts shards."""
    m = cache.manifest
    for shard in range(m.shards):
        start, stop = m.span(shard)
        low, high = np.searchsorted(rows, [start, stop])
        if high > low:
            yield slice(low, high), cache.features(shard, check=check)[rows[low:high] - start]
        if advance is not None:
            advance()
