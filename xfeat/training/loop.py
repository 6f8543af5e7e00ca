"""The training loop: batches, learning rate, validation, best epoch, checkpoints. It knows no method."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, optim

from xfeat.errors import InputError
from xfeat.methods.base import Objective, Schedule, Stage
from xfeat.methods.batches import batch_count
from xfeat.training.checkpoint import Best, load_checkpoint, save_checkpoint
from xfeat.training.seeds import seeded

CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True)
class Place:
    """Where a stage trains and what it leaves behind.

    Attributes:
        device: of the data and the objective.
        seed: of the run.
        names: what sets this stage's randomness apart: modality and stage.
        compile: compile the step.
        checkpoint: file for resuming; None keeps none.
        identity: of data and settings, so that a checkpoint resumes nothing else.
        log: called with one row per validated epoch.
        advance: called once per epoch.
        restart: called once with the epochs already done, so that a log can drop what is trained again.
        checkpoint_seconds: least time between two checkpoints.
    """

    device: torch.device
    seed: int
    names: tuple[str, ...]
    compile: bool = False
    checkpoint: Path | None = None
    identity: str = ""
    log: Callable[[dict[str, Any]], None] = lambda _: None
    advance: Callable[[], None] = lambda: None
    restart: Callable[[int], None] = lambda _: None
    checkpoint_seconds: float = CHECKPOINT_SECONDS


def fit(make_stage: Callable[[], Stage], place: Place) -> Best:
    """Train a stage and return its best epoch.

    The result depends on the stage, the seed and the names alone; a resumed training gives the same bytes.

    Args:
        make_stage: builds the stage; called with the stream's randomness in place, so that weights start from it.
        place: device, seed, files.

    Returns:
        The epoch with the highest score (the earliest of equals) and what the stage kept of it.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint does not fit.
    """
    stage, generator = seeded(make_stage, place.device, place.seed, *place.names)
    schedule = stage.schedule
    trained = {name: p for name, p in stage.objective.named_parameters() if p.requires_grad}
    optimizer = make_optimizer(stage, trained)
    done, best = 0, Best(0, -math.inf, {})
    if place.checkpoint is not None and place.checkpoint.exists():
        done, best = load_checkpoint(place.checkpoint, stage.objective, optimizer, generator, place.identity)
    place.restart(done)
    step = compiled(stage.objective, place.device) if place.compile else stage.objective
    saved = time.monotonic()
    for epoch in range(done, schedule.epochs):
        sums = _train_epoch(stage, step, optimizer, generator, epoch)
        if is_validated(schedule, epoch):
            best = validated(stage, epoch, sums, best, place)
        place.advance()
        if place.checkpoint is not None and time.monotonic() - saved >= place.checkpoint_seconds:
            save_checkpoint(place.checkpoint, stage.objective, optimizer, generator, epoch + 1, best, place.identity)
            saved = time.monotonic()
    return best


def make_optimizer(stage: Stage, parameters: Mapping[str, Tensor]) -> optim.Optimizer:
    """Adam over parameters by name: decoupled weight decay where the stage says so, none elsewhere."""
    s = stage.schedule
    groups = [
        {"params": [p for name, p in parameters.items() if stage.decays(name) is decays], "weight_decay": amount}
        for decays, amount in ((True, s.weight_decay), (False, 0.0))
    ]
    # With no weight decay AdamW is Adam.
    return optim.AdamW([group for group in groups if group["params"]], lr=s.lr, betas=s.betas, fused=True)


def set_learning_rate(optimizer: optim.Optimizer, schedule: Schedule, progress: float) -> None:
    """The rate at ``progress`` in [0, 1) of the training."""
    factor = 1.0
    if schedule.lr_schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    elif schedule.lr_schedule == "exponential":
        factor = schedule.lr_decay ** math.floor(progress * schedule.epochs + 1e-6)  # whole epochs, whatever rounding
    for group in optimizer.param_groups:
        group["lr"] = schedule.lr * factor


def is_validated(schedule: Schedule, epoch: int) -> bool:
    """Whether the stage is looked at after an epoch, counted from 0: now and then, and at the end."""
    return (epoch + 1) % schedule.validate_every == 0 or epoch + 1 == schedule.epochs


def compiled(step: Callable[..., dict[str, Tensor]], device: torch.device) -> Callable[..., dict[str, Tensor]]:
    """The step through torch.compile; on a GPU its kernels are captured as CUDA graphs."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    made: Callable[..., dict[str, Tensor]] = torch.compile(step, mode=mode)
    return made


def _finite_row(epoch: int, sums: Mapping[str, Tensor], found: Mapping[str, Tensor], who: str) -> dict[str, Any]:
    """A row of the log; the one place where the host waits for the device.

    Raises:
        InputError: a value is not finite.
    """
    values = torch.stack([*sums.values(), *found.values()]).tolist()
    names = [f"train_{name}" for name in sums] + [f"val_{name}" for name in found]
    row = dict(zip(names, values, strict=True))
    if not all(math.isfinite(value) for value in values):
        bad = ", ".join(name for name, value in row.items() if not math.isfinite(value))
        raise InputError(f"{who}: {bad} is not finite in epoch {epoch + 1}: lower the learning rate")
    return {"epoch": epoch + 1, **row}


def _train_epoch(
    stage: Stage,
    step: Objective | Callable[..., dict[str, Tensor]],
    optimizer: optim.Optimizer,
    generator: torch.Generator,
    epoch: int,
) -> dict[str, Tensor]:
    schedule, device = stage.schedule, stage.train.device
    q = torch.full((), stage.q(epoch), device=device)
    batches = batch_count(len(stage.train), schedule.batch_size)
    names: list[str] = []
    sums = torch.zeros((), device=device)
    for number, (x, y) in enumerate(stage.train.epoch(schedule.batch_size, generator)):
        set_learning_rate(optimizer, schedule, (epoch + number / batches) / schedule.epochs)
        parts = step(x, y, stage.objective.draw(len(y), generator), q)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        optimizer.step()
        stage.objective.after_step()
        # Kept on the device: reading a value here would make the host wait at every step.
        names, values = list(parts), torch.stack([value.detach() for value in parts.values()])
        sums = sums + values
    return dict(zip(names, sums / batches, strict=True))


@torch.no_grad()
def validated(stage: Stage, epoch: int, sums: Mapping[str, Tensor], best: Best, place: Place) -> Best:
    """Look at a stage after an epoch, note what is seen, and keep it where it is the best so far."""
    row = _finite_row(epoch, sums, stage.validate(epoch), " ".join(place.names))
    place.log(row)
    if row["val_score"] > best.score:
        kept = stage.keep()
        if not best.tensors:
            return Best(epoch + 1, row["val_score"], {name: tensor.clone() for name, tensor in kept.items()})
        for name, tensor in kept.items():
            best.tensors[name].copy_(tensor)  # into memory that is there: fresh pages cost more than the copy
        return Best(epoch + 1, row["val_score"], best.tensors)
    return best
