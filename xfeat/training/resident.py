"""Rows that lie on the device as a whole, and the scale of their inputs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.methods.batches import batch_count

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
        return self.scale(torch.from_numpy(features.astype(np.float32)))

    def scale(self, rows: Tensor) -> Tensor:
        """Scale (..., D) float32 in place."""
        return rows.sub_(self.mean).div_(self.std)

    def to(self, device: torch.device) -> "InputScale":
        """The same on a device."""
        return InputScale(self.mean.to(device), self.std.to(device))


def fit_scale(pieces: Callable[[], Iterable[NDArray[Any]]], dim: int, standardize: bool) -> InputScale:
    """The scale of training features; the identity where ``standardize`` is off.

    Args:
        pieces: gives the (n, D) features in pieces, as often as it is called.
        dim: D.
        standardize: whether to look at them.
    """
    if not standardize:
        return InputScale(torch.zeros(dim), torch.ones(dim))
    # Two passes in float64, a piece at a time: exact, and no float64 copy of everything.
    total, count = np.zeros(dim), 0
    for piece in pieces():
        total += piece.sum(axis=0, dtype=np.float64)
        count += len(piece)
    mean, squares = total / count, np.zeros(dim)
    for piece in pieces():
        squares += np.square(piece - mean).sum(axis=0)
    std = np.sqrt(squares / count)
    std[std <= 1e-8 * np.maximum(1.0, np.abs(mean))] = 1.0
    return InputScale(torch.from_numpy(mean).float(), torch.from_numpy(std).float())


@dataclass(frozen=True)
class Table:
    """The usable rows of one modality as they were cached, on the device. Several selections may share one.

    Attributes:
        features: (N, D) float16 or float32.
        labels: (N,) int64, or (N, C) uint8.
        classes: C.
    """

    features: Tensor
    labels: Tensor
    classes: int

    def take(self, rows: Tensor, scale: InputScale) -> tuple[Tensor, Tensor]:
        """Rows (...,) int64 as scaled features (..., D) float32 and targets (..., C) float32."""
        return scale.scale(self.features[rows].float()), hot_targets(self.labels[rows], self.classes)


def hot_targets(labels: Tensor, classes: int) -> Tensor:
    """(..., C) float32 targets that sum to 1, from (...,) int64 or (..., C) uint8 labels, every row with a class."""
    if labels.dtype == torch.uint8:
        hot = labels.float()
        # A sample of several classes weighs as much as one of a single class, in every loss.
        return hot / hot.sum(dim=-1, keepdim=True)
    return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).float()


class ResidentRows:
    """Some rows of a table; see ``xfeat.methods.base.Rows``.

    Args:
        table: where they lie.
        index: (n,) int64 which they are.
        scale: of the inputs, on the device.
    """

    def __init__(self, table: Table, index: Tensor, scale: InputScale) -> None:
        self.table, self.index, self.scale = table, index, scale
        self.dim, self.classes = table.features.shape[1], table.classes
        self.device = table.features.device

    def __len__(self) -> int:
        return len(self.index)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows once, shuffled, in equal batches."""
        for batch in self.batches(batch_size, generator):
            yield self.table.take(batch, self.scale)

    def batches(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The rows of each batch of an epoch."""
        order = torch.randperm(len(self), generator=generator, device=self.device)
        # Equal batches: the last one is trained like the others, and is never so small that its statistics are noise.
        return self.index[order].tensor_split(batch_count(len(self), batch_size))

    def pieces(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in order, in equal pieces."""
        index = self.index
        if most is not None and len(index) > most:
            index = index[torch.linspace(0, len(index) - 1, most, device=self.device).round().long()]
        for piece in index.tensor_split(-(-len(index) // PIECE)):
            yield self.table.take(piece, self.scale)
