"""Rows on the device, drawn by class: what CIIM trains on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.methods.ciim import Labelled
from xfeat.training.class_sampler import ClassSampler
from xfeat.training.resident import InputScale


@dataclass(frozen=True)
class Column:
    """Rows of one modality.

    Attributes:
        features: (n, D) as they were cached, on the device.
        labels: (n,) int64, on the CPU.
        scale: of the inputs.
    """

    features: Tensor
    labels: NDArray[np.int64]
    scale: InputScale

    def all(self) -> Labelled:
        """Every row, scaled."""
        device = self.features.device
        values = self.scale.to(device).scale(self.features.to(torch.float32, copy=True))
        return Labelled(values, torch.from_numpy(self.labels).to(device))


class ResidentClasses:
    """Batches of P classes, S rows of each from every modality; see ``xfeat.methods.ciim_stage.ClassRows``.

    Args:
        columns: training rows by modality.
        classes: C.
        per_batch: P.
        samples: S.
    """

    def __init__(self, columns: Mapping[str, Column], classes: int, per_batch: int, samples: int) -> None:
        self.device = next(iter(columns.values())).features.device
        self.dims = {name: column.features.shape[1] for name, column in columns.items()}
        self.rows = {name: len(column.labels) for name, column in columns.items()}
        labels = {name: column.labels for name, column in columns.items()}
        self._sampler = ClassSampler(labels, classes, per_batch, samples)
        counts = np.stack([np.bincount(own, minlength=classes) for own in labels.values()])
        self.known = torch.from_numpy(counts > 0).to(self.device)
        self._features = {name: column.features for name, column in columns.items()}
        self._labels = {name: torch.from_numpy(own).to(self.device) for name, own in labels.items()}
        self._scales = {name: column.scale.to(self.device) for name, column in columns.items()}

    def __len__(self) -> int:
        """Rows that an epoch draws from a modality that has every class."""
        return self._sampler.batches * self._sampler.per_batch * self._sampler.samples

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[dict[str, Labelled], Tensor]]:  # noqa: ARG002
        """Batches of the sampler; ``batch_size`` is theirs.

        Yields:
            Rows by modality, and (P * S,) int64 the classes that they were drawn for.
        """
        seed = int(torch.randint(2**62, (), generator=generator, device=self.device))
        for batch in self._sampler.epoch(np.random.default_rng(seed)):
            rows = {name: torch.from_numpy(own).to(self.device) for name, own in batch.rows.items()}
            drawn = {name: self._take(name, own) for name, own in rows.items()}
            yield drawn, torch.from_numpy(batch.classes.repeat(self._sampler.samples)).to(self.device)

    def _take(self, name: str, rows: Tensor) -> Labelled:
        return Labelled(self._scales[name].scale(self._features[name][rows].float()), self._labels[name][rows])
