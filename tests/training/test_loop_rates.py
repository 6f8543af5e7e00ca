"""The loop's exponential learning rate, and what is told that a step is done."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.training.toy import ToyObjective, ToyStage
from xfeat.methods.base import Noise
from xfeat.training.loop import Place, fit, make_optimizer, set_learning_rate

CPU = torch.device("cpu")


class CountingObjective(ToyObjective):
    """Notes forward passes and ends of steps, and the weight that each saw."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[tuple[str, float]] = []

    def forward(self, x: Tensor, y: Tensor, noise: Noise, q: Tensor) -> dict[str, Tensor]:
        if noise:
            self.seen.append(("forward", self.last.weight[0, 0].item()))
        return super().forward(x, y, noise, q)

    def after_step(self) -> None:
        self.seen.append(("after", self.last.weight[0, 0].item()))


class FallingStage(ToyStage):
    def __init__(self, decay: float, **options: Any) -> None:
        super().__init__(**options)
        self.objective = CountingObjective(3, False, False)
        self.schedule = replace(self.schedule, lr_schedule="exponential", lr_decay=decay)


@given(epochs=st.integers(1, 40), batches=st.integers(1, 13), decay=st.floats(0.1, 1.0))
def test_the_rate_falls_once_an_epoch(epochs: int, batches: int, decay: float) -> None:
    stage = FallingStage(decay, epochs=epochs, lr=0.1)
    optimizer = make_optimizer(stage, dict(stage.objective.named_parameters()))
    for epoch in range(epochs):
        for number in range(batches):
            set_learning_rate(optimizer, stage.schedule, (epoch + number / batches) / epochs)
            (rate,) = {float(group["lr"]) for group in optimizer.param_groups}
            assert rate == pytest.approx(0.1 * decay**epoch)


def test_training_takes_its_steps_at_that_rate_and_tells_when_each_is_done() -> None:
    """With a decay of next to nothing the weights move in the first epoch alone."""
    stages: list[FallingStage] = []

    def make() -> FallingStage:
        stages.append(FallingStage(1e-9, epochs=3, rows=10, batch_size=4, weight_decay=0.0))
        return stages[0]

    fit(make, Place(CPU, 3, ("toy",)))
    objective = stages[0].objective
    assert isinstance(objective, CountingObjective)
    assert [what for what, _ in objective.seen] == ["forward", "after"] * 9
    values = [value for _, value in objective.seen]
    steps = [abs(after - before) for before, after in zip(values[::2], values[1::2], strict=True)]
    assert min(steps[:3]) > 1e-3
    assert max(steps[3:]) < 1e-6
    assert values[2::2] == values[1:-1:2]
