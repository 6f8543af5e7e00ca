"""The training loop: batches, learning rate, validation, best epoch, checkpoints. It knows no method."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfeat.errors import InputError
from xfeat.methods.base import Stage
from xfeat.training.checkpoint import Best, load_checkpoint, save_checkpoint
from xfeat.training.seeds import random_stream

CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True)
class Place:
    """Where a stage trains and what it leaves behind.

    Attributes:
        device: of the data and the module.
        seed: of the run.
        names: what sets this stage's randomness apart: modality and stage.
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
    with random_stream(place.device, place.seed, *place.names):
        stage = make_stage()
        done, best = 0, Best(0, -math.inf, {})
        if place.checkpoint is not None and place.checkpoint.exists():
            done, best = load_checkpoint(place.checkpoint, stage, place.device, place.identity)
        place.restart(done)
        base = [float(group["lr"]) for group in stage.optimizer.param_groups]
        saved = time.monotonic()
        for epoch in range(done, stage.epochs):
            sums = _train_epoch(stage, epoch, base, place.device)
            if (epoch + 1) % stage.validate_every == 0 or epoch + 1 == stage.epochs:
                best = _validate(stage, epoch, sums, best, place)
            place.advance()
            if place.checkpoint is not None and time.monotonic() - saved >= place.checkpoint_seconds:
                save_checkpoint(place.checkpoint, stage, epoch + 1, best, place.device, place.identity)
                saved = time.monotonic()
        return best


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Share of the base learning rate at ``progress`` in [0, 1) of the training."""
    return 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1.0


def _train_epoch(stage: Stage, epoch: int, base: list[float], device: torch.device) -> dict[str, Tensor]:
    stage.module.train()
    # Equal batches: the last one is trained like the others, and is never so small that its statistics are noise.
    batches = torch.randperm(stage.rows, device=device).tensor_split(-(-stage.rows // stage.batch_size))
    names: list[str] = []
    sums = torch.zeros((), device=device)
    for number, batch in enumerate(batches):
        factor = learning_rate_factor(stage.lr_schedule, (epoch + number / len(batches)) / stage.epochs)
        for group, lr in zip(stage.optimizer.param_groups, base, strict=True):
            group["lr"] = lr * factor
        parts = stage.loss(batch, epoch)
        stage.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        stage.optimizer.step()
        # Kept on the device: reading a value here would make the host wait at every step.
        names, values = list(parts), torch.stack(list(parts.values())).detach()
        sums = sums + values
    return dict(zip(names, sums / len(batches), strict=True))


def _validate(stage: Stage, epoch: int, sums: dict[str, Tensor], best: Best, place: Place) -> Best:
    stage.module.eval()
    with torch.no_grad():
        found = stage.validate(epoch)
    values = torch.stack([*sums.values(), *found.values()]).tolist()
    names = [f"train_{name}" for name in sums] + [f"val_{name}" for name in found]
    row = dict(zip(names, values, strict=True))
    if not all(math.isfinite(value) for value in values):
        bad = ", ".join(name for name, value in row.items() if not math.isfinite(value))
        raise InputError(f"{' '.join(place.names)}: {bad} is not finite in epoch {epoch + 1}: lower the learning rate")
    place.log({"epoch": epoch + 1, **row})
    if row["val_score"] > best.score:
        return Best(epoch + 1, row["val_score"], {name: tensor.clone() for name, tensor in stage.keep().items()})
    return best
