"""What the training loop needs from a method: stages of minibatch steps on one modality's data."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn, optim


@dataclass(frozen=True)
class Rows:
    """Samples on the device.

    Attributes:
        features: (n, D) float32, standardised where the run asks for it.
        targets: (n, C) float32, one-hot or multi-hot scaled to sum 1; every row has a class.
    """

    features: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class BranchData:
    """Everything the training of one branch may look at: its own modality, never another, never test rows.

    Attributes:
        modality: its name.
        train: training rows.
        val: validation rows, for model selection.
    """

    modality: str
    train: Rows
    val: Rows

    @property
    def dim(self) -> int:
        """D, width of the features."""
        return self.train.features.shape[1]

    @property
    def classes(self) -> int:
        """C, number of classes."""
        return self.train.targets.shape[1]


class Stage(Protocol):
    """One training of one module. The loop owns batches, randomness, checkpoints and the log.

    Attributes:
        optimizer: over the module's parameters.
        rows: number of training rows.
        batch_size: rows per step, at most.
        epochs: passes over the training rows.
        validate_every: epochs between two looks at ``validate``.
        lr_schedule: ``constant``, or ``cosine`` from the optimizer's rate down to 0 at the last step.
    """

    @property
    def module(self) -> nn.Module:
        """Everything that is trained."""

    optimizer: optim.Optimizer
    rows: int
    batch_size: int
    epochs: int
    validate_every: int
    lr_schedule: Literal["constant", "cosine"]

    def loss(self, batch: Tensor, epoch: int) -> dict[str, Tensor]:
        """Scalars by name for the rows of ``batch`` (B,) int64; ``loss`` is the one to descend."""

    def validate(self, epoch: int) -> dict[str, Tensor]:
        """Scalars by name after an epoch; ``score`` decides which epoch is kept: higher is better."""

    def keep(self) -> dict[str, Tensor]:
        """The tensors worth keeping from the best epoch, as they are now."""
