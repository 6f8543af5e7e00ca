"""What the training loop needs from a method: stages of minibatch steps on one modality's data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

Noise: TypeAlias = Mapping[str, Tensor]
"""All randomness of one step, drawn before it: the step itself is a function of its inputs."""


class Batches(Protocol):
    """What a stage trains on, epoch by epoch.

    Attributes:
        device: where batches are.
    """

    device: torch.device

    def __len__(self) -> int:
        """Rows of an epoch."""

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Any, Tensor]]:
        """All rows once, shuffled, in equal batches of about ``batch_size``.

        Yields:
            What the objective takes as ``x`` and ``y``; ``y`` has a row for each of the batch.
        """


class Rows(Batches, Protocol):
    """Samples of one modality, wherever they lie.

    Attributes:
        dim: D, width of the features.
        classes: C.
        device: where batches are.
    """

    dim: int
    classes: int
    device: torch.device

    def __len__(self) -> int:
        """How many there are."""

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows once, shuffled, in equal batches of about ``batch_size``.

        Yields:
            (B, D) float32 scaled features and (B, C) float32 targets, one-hot or multi-hot scaled to sum 1.
        """

    def pieces(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in order, in pieces like those of ``epoch``; ``most`` rows, spread evenly, where that is fewer."""


@dataclass(frozen=True)
class BranchData:
    """Everything the training of one branch may look at: its own modality, never another, never test rows.

    Attributes:
        modality: its name.
        train: training rows.
        val: validation rows, for model selection.
        counts: (C,) training rows of each class; a row of k classes counts 1/k for each.
        unlabelled: rows of train and val that were left out because they have no label.
    """

    modality: str
    train: Rows
    val: Rows
    counts: Tensor
    unlabelled: int = 0

    @property
    def dim(self) -> int:
        """D, width of the features."""
        return self.train.dim

    @property
    def classes(self) -> int:
        """C, number of classes."""
        return self.train.classes


class Objective(nn.Module):
    """Parameters to train and the loss they are trained for; ``forward`` is a pure function of its inputs.

    So the same code trains one network, or many at once under ``torch.func.vmap``, eagerly or compiled.
    """

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The randomness of one step on a batch of ``rows``."""
        raise NotImplementedError

    def forward(self, x: Any, y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:
        """Scalars by name; ``loss`` is the one to descend."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called when the optimizer has stepped: averages and queues move here."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage trains.

    Attributes:
        batch_size: rows per step, about: all rows are dealt out evenly.
        epochs: passes over the training rows.
        validate_every: epochs between two looks at ``validate``.
        lr: learning rate of Adam.
        lr_schedule: ``constant``, ``cosine`` down to 0 at the last step, or ``exponential``.
        weight_decay: decoupled, of the parameters that ``Stage.decays`` names.
        betas: of Adam.
        lr_decay: what an epoch leaves of the rate, where it is ``exponential``.
    """

    batch_size: int
    epochs: int
    validate_every: int
    lr: float
    lr_schedule: Literal["constant", "cosine", "exponential"]
    weight_decay: float
    betas: tuple[float, float]
    lr_decay: float = 1.0


class Stage(Protocol):
    """One training of one objective. The loop owns batches, randomness, optimizer, checkpoints and the log."""

    @property
    def objective(self) -> Objective:
        """Everything that is trained."""

    @property
    def train(self) -> Batches:
        """Rows to train on."""

    @property
    def schedule(self) -> Schedule:
        """How long and how fast."""

    def decays(self, name: str) -> bool:
        """Whether weight decay acts on a parameter of the objective."""

    def q(self, epoch: int) -> float:
        """The value that the objective takes as ``q`` in an epoch, counted from 0."""

    def validate(self, epoch: int) -> dict[str, Tensor]:
        """Scalars by name after an epoch; ``score`` decides which epoch is kept: higher is better."""

    def keep(self) -> dict[str, Tensor]:
        """The tensors worth keeping from the best epoch, as they are now."""
