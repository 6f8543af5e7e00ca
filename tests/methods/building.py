"""Data of several classes, settings of DRCL in both of its forms, and plain training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, optim
from torch.nn.functional import one_hot

from xfeat.methods.base import BranchData
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import RscStage, SplStage
from xfeat.training.resident import InputScale, ResidentRows, Table

CLASSES, DIM, OUT = 4, 6, 9
# As published: two hidden layers, no bias, logits z W, q to 1, unit embeddings, the best epoch.
SETTINGS = DrclSettings(
    hidden=8,
    out=OUT,
    layers=2,
    bias_length=0.0,
    batch_size=16,
    spl_epochs=10,
    epochs=10,
    lr=1e-2,
    spl_lr=1e-2,
    dropout=0.0,
    input_noise=0.0,
    logit_scale=1.0,
    q_max=1.0,
    embedding="unit",
    select="loss",
)
# What size=small has in their place.
SMALL_FORM: dict[str, Any] = {
    "layers": 1,
    "bias_length": 4.0,
    "input_noise": 0.3,
    "logit_scale": 16.0,
    "q_max": 0.2,
    "embedding": "recast",
    "select": "last",
}
FORMS: dict[str, dict[str, Any]] = {"as published": {}, "small": SMALL_FORM}


def resolved(rows: int = 24, **changes: Any) -> DrclSettings:
    return SETTINGS.model_copy(update=changes).resolved(rows, CLASSES)


def some_rows(count: int, *, multi: bool = False, seed: int = 0, noise: float = 1.0) -> ResidentRows:
    """Blobs with classes of different sizes: 0, 1, 2, 3, 0, 1, 0, and again."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 0])[torch.arange(count) % 7]
    hot = one_hot(labels, CLASSES)
    if multi:
        hot = (hot + one_hot((labels + 1 + torch.arange(count) % 2) % CLASSES, CLASSES)).clamp(max=1)
        hot[::5] = one_hot(labels[::5], CLASSES)
    targets = hot / hot.sum(1, keepdim=True)
    centres = 2 * torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(99))
    features = targets @ centres + noise * torch.randn(count, DIM, generator=g)
    table = Table(features, hot.to(torch.uint8) if multi else labels, CLASSES)
    return ResidentRows(table, torch.arange(count), InputScale(torch.zeros(DIM), torch.ones(DIM)))


def everything(rows: ResidentRows) -> tuple[Tensor, Tensor]:
    pieces = list(rows.pieces())
    return torch.cat([x for x, _ in pieces]), torch.cat([y for _, y in pieces])


def some_data(*, train: int = 24, val: int = 10, multi: bool = False) -> BranchData:
    rows = some_rows(train, multi=multi)
    return BranchData("image", rows, some_rows(val, multi=multi, seed=1), everything(rows)[1].sum(0))


def batch_of(data: BranchData, rows: list[int]) -> tuple[Tensor, Tensor]:
    x, y = everything(data.train)  # type: ignore[arg-type]
    return x[rows], y[rows]


def descend(stage: SplStage | RscStage, epochs: int, step: Callable[..., dict[str, Tensor]] | None = None) -> None:
    run = stage.objective if step is None else step
    generator = torch.Generator().manual_seed(0)
    optimizer = optim.Adam(stage.objective.parameters(), lr=stage.schedule.lr, betas=stage.schedule.betas)
    for epoch in range(epochs):
        for x, y in stage.train.epoch(stage.schedule.batch_size, generator):
            noise = stage.objective.draw(len(x), generator)
            optimizer.zero_grad()
            run(x, y, noise, torch.tensor(stage.q(epoch)))["loss"].backward()
            optimizer.step()
