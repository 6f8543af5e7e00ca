"""A stage that is no method of ours: what the loop and the checkpoints are tested with."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from xfeat.heads import dropout_mask
from xfeat.methods.base import Noise, Objective, Schedule
from xfeat.training.resident import InputScale, ResidentRows, Table

CLASSES = 3


class ToyRows(ResidentRows):
    """Numbered rows that remember which batches were made of them, epoch by epoch."""

    def __init__(self, rows: int) -> None:
        labels = torch.arange(rows) % CLASSES
        features = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)) + 3 * one_hot(labels, 4)
        table = Table(features, labels, CLASSES)
        super().__init__(table, torch.arange(rows), InputScale(torch.zeros(4), torch.ones(4)))
        self.seen: list[list[list[int]]] = []

    def batches(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        found = super().batches(batch_size, generator)
        self.seen.append([batch.tolist() for batch in found])
        return found


class ToyObjective(Objective):
    """Regression of targets, with dropout. Where q is 1 and ``broken``, the loss is not a number."""

    def __init__(self, width: int, by_columns: bool, broken: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, CLASSES)
        if by_columns:
            self.first.weight = nn.Parameter(self.first.weight.detach().T.contiguous().T)
        self.broken = broken

    def draw(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"mask": dropout_mask(rows, self.first.out_features, 0.5, generator)}

    def forward(self, x: Tensor, y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:
        hidden = self.first(x) * noise["mask"] if "mask" in noise else self.first(x)
        error = (self.last(hidden) - y).square().mean() * (1 + q)
        if self.broken:
            error = error / (1 - q).abs().ceil()
        return {"loss": error, "half": error / 2}


class ToyStage:
    """Trains a toy objective; the weights of the last layer decay, its bias and the first layer do not.

    With ``by_columns`` a parameter's memory is ordered by columns. With ``scores`` an epoch's score is given; otherwise
    it is the negative error. In epoch ``broken`` the loss is not finite.
    """

    def __init__(
        self,
        *,
        rows: int = 10,
        batch_size: int = 4,
        epochs: int = 5,
        validate_every: int = 1,
        lr: float = 0.05,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        weight_decay: float = 0.1,
        scores: Sequence[float] | None = None,
        broken: int | None = None,
        width: int = 3,
        by_columns: bool = False,
    ) -> None:
        self.train = ToyRows(rows)
        self.objective = ToyObjective(width, by_columns, broken is not None)
        betas = (0.5, 0.999)
        self.schedule = Schedule(batch_size, epochs, validate_every, lr, lr_schedule, weight_decay, betas)
        self.scores, self.broken = scores, broken

    def decays(self, name: str) -> bool:
        return name == "last.weight"

    def q(self, epoch: int) -> float:
        return 1.0 if epoch == self.broken else epoch / (2 * self.schedule.epochs)

    def validate(self, epoch: int) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        if self.scores is not None:
            return {"score": torch.tensor(self.scores[epoch])}
        x, y = next(iter(self.train.pieces()))
        return {"score": -self.objective(x, y, {}, torch.zeros(()))["loss"]}

    def keep(self) -> dict[str, Tensor]:
        return self.objective.state_dict()
