"""Paired rows on the device: instances in batches, a row of each modality drawn for every one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xfeat.cache import Block
from xfeat.methods.batches import batch_count
from xfeat.methods.sspc import Features
from xfeat.training.pairing import Members, Pairing
from xfeat.training.resident import InputScale

PIECE = 2048  # rows


@dataclass(frozen=True)
class Column:
    """The rows of one modality on the device.

    Attributes:
        values: (N, D) pooled vectors, or (T, D) the tokens of all rows, as they were cached.
        offsets: (N + 1,) int64, row i has tokens offsets[i] to offsets[i + 1]; None for pooled vectors.
        scale: of the inputs, on the device.
    """

    values: Tensor
    offsets: Tensor | None
    scale: InputScale

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows (B,) int64 as (B, D) scaled float32 and None, or as padded tokens (B, T, D) and their mask (B, T)."""
        if self.offsets is None:
            return self.scale.scale(self.values[rows].float()), None
        first, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        mask = steps < lengths.unsqueeze(1)
        at = torch.where(mask, first.unsqueeze(1) + steps, 0)
        return self.scale.scale(self.values[at].float()).masked_fill_(~mask.unsqueeze(2), 0.0), mask


class ResidentPairs:
    """Instances whose features lie on the device; see ``xfeat.methods.sspc_stage.PairedRows``.

    Args:
        columns: by modality.
        pairing: which of their rows are one instance.
        views: times an instance is drawn in an epoch.
    """

    def __init__(self, columns: Mapping[str, Column], pairing: Pairing, views: int = 1) -> None:
        self.columns, self.views, self.count = columns, views, len(pairing)
        self.device = next(iter(columns.values())).values.device
        self.dims = {name: column.values.shape[1] for name, column in columns.items()}
        self._members = {name: _Drawn(pairing.members[name], self.device) for name in columns}

    def __len__(self) -> int:
        return self.count * self.views

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[dict[str, Features], Tensor]]:
        """All instances ``views`` times, shuffled, in equal batches; of several rows of an instance one is drawn."""
        order = torch.randperm(len(self), generator=generator, device=self.device) % self.count
        for keys in order.tensor_split(batch_count(len(self), batch_size)):
            batch = {}
            for name, column in self.columns.items():
                rows, present = self._members[name].draw(keys, generator)
                values, mask = column.take(rows)
                batch[name] = Features(values, mask, present)
            yield batch, keys

    def pieces(self, modality: str) -> Sequence[tuple[Features, Tensor]]:
        """Every row of a modality that belongs to an instance, with the instance's number."""
        members, column = self._members[modality], self.columns[modality]
        found = []
        for rows, keys in zip(members.rows.split(PIECE), members.keys.split(PIECE), strict=True):
            if len(rows):
                values, mask = column.take(rows)
                found.append((Features(values, mask), keys))
        return found


class _Drawn:
    """Rows of one modality by instance, on the device."""

    def __init__(self, members: Members, device: torch.device) -> None:
        counts = members.counts
        self.rows = torch.from_numpy(members.rows).to(device)
        self.keys = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
        self.starts = torch.from_numpy(members.starts[:-1]).to(device)
        self.counts = torch.from_numpy(counts).to(device)
        self.complete, self.single = bool((counts > 0).all()), bool((counts <= 1).all())

    def draw(self, keys: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """A row for each instance, and which instances have one (None: all); any row stands for those without."""
        counts = self.counts[keys]
        at = self.starts[keys]
        if not self.single:
            luck = torch.rand(len(keys), generator=generator, device=keys.device)
            at = at + (luck * counts).long().clamp(max=counts.clamp(min=1) - 1)
        if self.complete:
            return self.rows[at], None
        present = counts > 0
        return self.rows[torch.where(present, at, 0)], present


def make_column(block: Block, scale: InputScale, device: torch.device, *, tokens: bool) -> Column:
    """Rows of a cache on the device, in the cache's dtype.

    Args:
        block: the rows.
        scale: of the inputs.
        device: where they go.
        tokens: take the token sequences, not the pooled vectors.
    """
    on_device = scale.to(device)
    if not tokens or block.tokens is None:
        return Column(torch.from_numpy(block.features).to(device), None, on_device)
    values, offsets = block.tokens.values, block.tokens.offsets
    return Column(torch.from_numpy(values).to(device), torch.from_numpy(offsets).to(device), on_device)
