"""A stage that is no method of ours: what the loop and the checkpoints are tested with."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn, optim


class ToyStage:
    """Regression with dropout and fused AdamW that records its batches and learning rates.

    With ``by_columns`` a parameter's memory is ordered by columns. With ``scores`` an epoch's score is given; otherwise
    it is the negative error. From epoch ``broken`` on, the loss is not a number.
    """

    lr_schedule: Literal["constant", "cosine"]

    def __init__(
        self,
        *,
        rows: int = 10,
        batch_size: int = 4,
        epochs: int = 5,
        validate_every: int = 1,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        scores: Sequence[float] | None = None,
        broken: int | None = None,
        width: int = 3,
        by_columns: bool = False,
    ) -> None:
        data = torch.Generator().manual_seed(0)
        self.features = torch.randn(rows, 4, generator=data)
        self.targets = self.features.sum(1, keepdim=True)
        self.module = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.5), nn.Linear(width, 1))
        if by_columns:
            self.module[0].weight = nn.Parameter(self.module[0].weight.detach().T.contiguous().T)
        self.optimizer = optim.AdamW(
            [{"params": [*self.module[0].parameters()]}, {"params": [*self.module[2].parameters()], "lr": 0.02}],
            lr=0.05,
            fused=True,
        )
        self.rows, self.batch_size, self.epochs = rows, batch_size, epochs
        self.validate_every, self.lr_schedule = validate_every, lr_schedule
        self.scores, self.broken = scores, broken
        self.batches: list[list[list[int]]] = [[] for _ in range(epochs)]
        self.rates: list[list[float]] = []

    def loss(self, batch: Tensor, epoch: int) -> dict[str, Tensor]:
        assert self.module.training
        self.batches[epoch].append(batch.tolist())
        self.rates.append([float(group["lr"]) for group in self.optimizer.param_groups])
        error = (self.module(self.features[batch]) - self.targets[batch]).square().mean()
        if self.broken is not None and epoch >= self.broken:
            error = error * float("nan")
        return {"loss": error, "half": error / 2}

    def validate(self, epoch: int) -> dict[str, Tensor]:
        assert not self.module.training
        if self.scores is not None:
            return {"score": torch.tensor(self.scores[epoch])}
        return {"score": -(self.module(self.features) - self.targets).square().mean()}

    def keep(self) -> dict[str, Tensor]:
        return self.module.state_dict()
