"""Rows that stay on disk: every epoch reads the shards in a new order and shuffles within groups of them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.cache import FeatureCache
from xfeat.methods.batches import batch_count
from xfeat.training.resident import InputScale, hot_targets
from xfeat.training.selection import Selection


class StreamedRows:
    """Some rows of a cache that is larger than the memory it may take; see ``xfeat.methods.base.Rows``.

    A batch mixes rows of as many shards as fit: two groups of shards are in memory, one being trained on and one being
    read. With rows sorted by class on disk, use a larger ``memory``, or write the cache in random order.

    Args:
        cache: where they lie.
        selection: labels and places of the usable rows.
        mine: (n,) bool which of those are meant.
        scale: of the inputs.
        device: of the batches.
        memory: bytes that both groups may take.
    """

    def __init__(
        self,
        cache: FeatureCache,
        selection: Selection,
        mine: NDArray[np.bool_],
        scale: InputScale,
        device: torch.device,
        memory: int,
    ) -> None:
        self.cache, self.scale, self.device = cache, scale.to(device), device
        self.dim, self.classes = cache.manifest.dim, selection.classes
        self._rows, self._labels = selection.rows[mine], selection.labels[mine]
        shards = cache.manifest.shards
        # Where the rows of each shard begin among ours: they are in order.
        self._cuts = np.searchsorted(self._rows, [cache.manifest.span(shard)[0] for shard in range(shards)] + [2**62])
        size = cache.manifest.shard_rows * cache.manifest.dim * np.dtype(cache.manifest.dtype).itemsize
        # A group is held as read and once more in shuffled order of one batch; the next group waits beside it.
        self.group = max(1, min(shards, memory // (2 * size)))

    def __len__(self) -> int:
        return len(self._rows)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows once, in equal batches that mix the rows of ``group`` shards."""
        order = torch.randperm(self.cache.manifest.shards, generator=generator, device=generator.device).tolist()
        sizes = [len(part) for part in np.array_split(np.empty(len(self)), batch_count(len(self), batch_size))]
        left: tuple[Tensor, Tensor] | None = None
        for features, labels in self._groups(order):
            shuffled = torch.randperm(len(features), generator=generator, device=generator.device).cpu()
            while sizes:
                need = sizes[0] - (len(left[0]) if left else 0)
                part = features[shuffled[:need]], labels[shuffled[:need]]
                shuffled = shuffled[need:]
                left = part if left is None else (torch.cat([left[0], part[0]]), torch.cat([left[1], part[1]]))
                if len(left[0]) < sizes[0]:
                    break  # the next group completes this batch
                yield self._batch(*left)
                left = None
                sizes.pop(0)

    def pieces(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in order, shard by shard."""
        wanted = np.ones(len(self), dtype=bool)
        if most is not None and len(self) > most:
            wanted[:] = False
            wanted[np.linspace(0, len(self) - 1, most).round().astype(np.int64)] = True
        for shard in range(self.cache.manifest.shards):
            if wanted[self._part(shard)].any():
                features, labels = self._read(shard, wanted)
                yield self._batch(features, labels)

    def _batch(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x, y = features.to(self.device).float(), labels.to(self.device)
        return self.scale.scale(x), hot_targets(y, self.classes)

    def _groups(self, order: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        groups = [order[start : start + self.group] for start in range(0, len(order), self.group)]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._load, groups[0])
            for after in [*groups[1:], None]:
                loaded = coming.result()
                if after is not None:
                    coming = reader.submit(self._load, after)
                if len(loaded[0]):
                    yield loaded

    def _load(self, shards: Sequence[int]) -> tuple[Tensor, Tensor]:
        cuts = [self._part(shard) for shard in shards]
        total = sum(cut.stop - cut.start for cut in cuts)
        features = np.empty((total, self.dim), self.cache.manifest.dtype)
        filled = 0
        for shard, cut in zip(shards, cuts, strict=True):
            if cut.stop > cut.start:
                found = self.cache.features(shard)
                features[filled : filled + cut.stop - cut.start] = found[self._local(shard, cut)]
                filled += cut.stop - cut.start
        labels = np.concatenate([self._labels[cut] for cut in cuts])
        return torch.from_numpy(features), torch.from_numpy(labels)

    def _read(self, shard: int, wanted: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        cut = self._part(shard)
        keep = wanted[cut]
        features = self.cache.features(shard)[self._local(shard, cut)[keep]]
        return torch.from_numpy(features), torch.from_numpy(self._labels[cut][keep])

    def _part(self, shard: int) -> slice:
        return slice(int(self._cuts[shard]), int(self._cuts[shard + 1]))

    def _local(self, shard: int, cut: slice) -> NDArray[np.int64]:
        local: NDArray[np.int64] = self._rows[cut] - self.cache.manifest.span(shard)[0]
        return local
