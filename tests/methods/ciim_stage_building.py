"""Stages of CIIM on rows of three modalities, some of which lack classes, and their plain training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

from tests.methods.ciim_building import a_setting
from xfeat.methods.ciim import Labelled
from xfeat.methods.ciim_stage import CiimStage
from xfeat.training.class_rows import Column, ResidentClasses
from xfeat.training.resident import InputScale

DIMS = {"image": 5, "text": 4, "audio": 3}
COUNT, CLASSES = 30, 4
HELD = {"image": (0, 1, 2), "text": (0, 1, 2), "audio": (1, 2, 3)}  # classes of each


def column(name: str, *, seed: int = 0, classes: tuple[int, ...] | None = None) -> Column:
    g = torch.Generator().manual_seed(100 * seed + len(name))
    labels = torch.tensor(classes or HELD[name])[torch.arange(COUNT) % len(classes or HELD[name])]
    centres = 2 * torch.randn(CLASSES, DIMS[name], generator=torch.Generator().manual_seed(DIMS[name]))
    values = centres[labels] + torch.randn(COUNT, DIMS[name], generator=g)
    scale = InputScale(torch.zeros(DIMS[name]), torch.ones(DIMS[name]))
    return Column(values, labels.numpy().astype(np.int64), scale)


def rows(*names: str) -> ResidentClasses:
    return ResidentClasses({name: column(name) for name in names}, CLASSES, 3, 2)


def val_rows(*names: str) -> dict[str, Labelled]:
    return {name: column(name, seed=1).all() for name in names}


def a_stage(*names: str, val: bool = True, shared: Mapping[str, Tensor] | None = None, **changes: Any) -> CiimStage:
    names = names or ("image", "text")
    torch.manual_seed(0)
    return CiimStage(rows(*names), val_rows(*names) if val else {}, a_setting(**changes), shared)


def descend(stage: CiimStage, epochs: int = 1) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Train, and return bias and mean of the refined rows of every modality at every step."""
    seen = []
    parameters = [p for p in stage.objective.parameters() if p.requires_grad]
    optimizer, generator = optim.Adam(parameters, lr=0.02), torch.Generator().manual_seed(1)
    for epoch in range(epochs):
        for x, y in stage.train.epoch(stage.schedule.batch_size, generator):
            noise = stage.objective.draw(len(y), generator)
            out = stage.objective.network([x[name] for name in stage.objective.network.names], noise)
            optimizer.zero_grad()
            stage.objective(x, y, noise, torch.tensor(stage.q(epoch)))["loss"].backward()
            optimizer.step()
            stage.objective.after_step()
            if out.parts is not None:
                bias = out.parts.bias.detach().split(list(out.counts))
                means = [middle.detach() for middle in out.means]
                seen.append(dict(zip(x, zip(bias, means, strict=True), strict=True)))
    return seen


def state(stage: CiimStage) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in stage.objective.network.state_dict().items()}
