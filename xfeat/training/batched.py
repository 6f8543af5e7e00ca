"""Trains the same stage for many seeds at once: their parameters are stacked, and a step is one batched computation.

``torch.func.vmap`` turns the matrix products of the members into batched ones. Every member keeps its own stream of
randomness, so that it is the training that ``fit`` would do, up to the rounding of batched products.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from xfeat.methods.base import Stage
from xfeat.training.checkpoint import Best
from xfeat.training.loop import Place, compiled, is_validated, make_optimizer, set_learning_rate, validated
from xfeat.training.resident import InputScale, ResidentRows
from xfeat.training.seeds import seeded

STATES = 4  # copies of the parameters while training: themselves, gradient, two moments


def fit_many(makes: Sequence[Callable[[], Stage]], places: Sequence[Place]) -> list[Best]:
    """Train one stage for many seeds; see ``fit``. Nothing is checkpointed: a killed training starts this stage again.

    Args:
        makes: builds each member's stage. Stages have one schedule and one shape; their rows lie in one table.
        places: device, seed and log of each; the first one's ``advance`` and ``compile`` count.

    Returns:
        The best epoch of each member.

    Raises:
        InputError: a loss is no longer finite.
        ValueError: stages that cannot be stacked.
    """
    made = [seeded(make, p.device, p.seed, *p.names) for make, p in zip(makes, places, strict=True)]
    stages, generators = [stage for stage, _ in made], [generator for _, generator in made]
    first, schedule = stages[0], stages[0].schedule
    rows = StackedRows([stage.train for stage in stages])
    if any(stage.schedule != schedule for stage in stages):
        raise ValueError("stages with different schedules cannot be stacked")
    parameters, buffers = stack_module_state([stage.objective for stage in stages])
    optimizer = make_optimizer(first, parameters)
    step = _step(first, buffers)
    if places[0].compile:
        step = compiled(step, places[0].device)
    best = [Best(0, -math.inf, {}) for _ in stages]
    for place in places:
        place.restart(0)
    for epoch in range(schedule.epochs):
        q = torch.full((), first.q(epoch), device=rows.device)
        sums: dict[str, Tensor] = {}
        batches = rows.epoch(schedule.batch_size, generators)
        for number, batch in enumerate(batches):
            set_learning_rate(optimizer, schedule, (epoch + number / len(batches)) / schedule.epochs)
            x, y = rows.take(batch)
            parts = step(parameters, x, y, _draw(stages, generators, batch.shape[1]), q)
            optimizer.zero_grad(set_to_none=True)
            # Members share no parameter: the gradient of the sum is that of each.
            parts["loss"].sum().backward()
            optimizer.step()
            sums = {name: sums.get(name, 0) + value.detach() for name, value in parts.items()}
        if is_validated(schedule, epoch):
            means = {name: value / len(batches) for name, value in sums.items()}
            for member, stage in enumerate(stages):
                _put_back(stage, parameters, member)
                mine = {name: value[member] for name, value in means.items()}
                best[member] = validated(stage, epoch, mine, best[member], places[member])
        places[0].advance()
    return best


def members_that_fit(stage: Stage, memory: int) -> int:
    """How many members of a stage's size train at once in so many bytes; at least 1."""
    parameters = sum(p.numel() for p in stage.objective.parameters())
    widths = sum(p.shape[0] for p in stage.objective.parameters())
    # Every layer's output is kept for the backward pass, with its mask and its gradient.
    activations = 3 * stage.schedule.batch_size * (widths + getattr(stage.train, "dim", 0))
    return int(max(1, memory // (4 * (STATES * parameters + activations))))


class StackedRows:
    """The training rows of several members, of one table; every batch has an axis of members in front.

    Raises:
        ValueError: rows of different tables, or of different numbers.
    """

    def __init__(self, members: Sequence[object]) -> None:
        rows = [member for member in members if isinstance(member, ResidentRows)]
        if len(rows) < len(members) or any(r.table is not rows[0].table or len(r) != len(rows[0]) for r in rows):
            raise ValueError("members must have equally many rows of one table in memory")
        self.members, self.table, self.device = rows, rows[0].table, rows[0].device
        mean, std = (torch.stack([getattr(r.scale, name) for r in rows]).unsqueeze(1) for name in ("mean", "std"))
        self.scale = InputScale(mean, std)

    def epoch(self, batch_size: int, generators: Sequence[torch.Generator]) -> list[Tensor]:
        """Rows (E, B) of every batch of an epoch, shuffled by each member's own generator."""
        each = [member.batches(batch_size, g) for member, g in zip(self.members, generators, strict=True)]
        return [torch.stack(batch) for batch in zip(*each, strict=True)]

    def take(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Features (E, B, D) and targets (E, B, C) of rows (E, B)."""
        return self.table.take(batch, self.scale)


def _step(stage: Stage, buffers: dict[str, Tensor]) -> Callable[..., dict[str, Tensor]]:
    skeleton = copy.deepcopy(stage.objective).to("meta")

    def one(
        parameters: dict[str, Tensor],
        fixed: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        noise: Mapping[str, Tensor],
        q: Tensor,
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = functional_call(skeleton, (parameters, fixed), (x, y, noise, q))
        return found

    def step(
        parameters: dict[str, Tensor], x: Tensor, y: Tensor, noise: Mapping[str, Tensor], q: Tensor
    ) -> dict[str, Tensor]:
        many: dict[str, Tensor] = vmap(one, in_dims=(0, 0, 0, 0, 0, None))(parameters, buffers, x, y, noise, q)
        return many

    return step


def _draw(stages: Sequence[Stage], generators: Sequence[torch.Generator], rows: int) -> dict[str, Tensor]:
    each = [stage.objective.draw(rows, g) for stage, g in zip(stages, generators, strict=True)]
    return {name: torch.stack([noise[name] for noise in each]) for name in each[0]}


@torch.no_grad()
def _put_back(stage: Stage, parameters: Mapping[str, Tensor], member: int) -> None:
    for name, parameter in stage.objective.named_parameters():
        parameter.copy_(parameters[name][member])
