"""Every setting of DRCL, validated, and how the ones left open follow from the data."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from xfeat.methods.batches import batch_count

SMALL: dict[str, Any] = {
    "hidden": 256,
    "layers": 1,
    "bias_length": 4.0,
    "spl_steps": 150,
    "spl_lr": 5e-4,
    "lr": 2e-3,
    "lr_schedule": "cosine",
    "dropout": 0.5,
    "logit_scale": 16.0,
    "q_max": 0.2,
    "embedding": "recast",
    "select": "last",
}
# Section "Stage 1" and "Stage 2" of the paper's reference settings (Wikipedia); its learning rates differ by modality.
PAPER: dict[str, Any] = {
    "hidden": 4096,
    "out": 2048,
    "batch_size": 1024,
    "spl_epochs": 200,
    "spl_lr": 5e-4,
    "epochs": 200,
    "lr": 1e-4,
    "lr_schedule": "constant",
    "q_epochs": 100,
    "dropout": 0.0,
    "input_noise": 0.0,
    "logit_scale": 1.0,
    "q_max": 1.0,
    "embedding": "unit",
    "layers": 2,
    "bias_length": 0.0,
    "skip": False,
    "select": "loss",
}
SMALL_OUT = 128  # O at least; more where C leaves no room for ROOM classes to come
ROOM = 64
SMALL_STEPS = (200, 400)  # least and most of stage 2, one per training row in between
SKIP_DIMS, SKIP_ROWS = 32, 10  # a linear map helps few dimensions, given so many rows for each
NOISE_DIMS = 100  # below so many, dimensions are too few to be blurred as much
SMALL_NOISE = (0.05, 0.5)  # least and most deviation of the noise on standardised features; none below the least
SMALL_BATCHES = (128, 1024)  # least and most rows per step
MIN_EPOCHS = 10  # of a stage whose length is given in steps: q grows, and validation looks, by the epoch


class DrclSettings(BaseModel):
    """Settings of DRCL (arXiv 2501.05686). One left at None follows from ``size`` and the modality's own data.

    Raises:
        pydantic.ValidationError: an unknown setting or a value outside its range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    method: ClassVar[str] = "drcl"  # what a run with them calls itself

    size: Literal["small", "paper"] = Field(
        "small", description="sized from the data, or the paper's sizes and schedule"
    )
    hidden: int | None = Field(None, ge=1, description="H, width of the hidden layers")
    out: int | None = Field(None, ge=1, description="O, width of the shared space")
    layers: int | None = Field(None, ge=1, le=2, description="hidden layers")
    skip: bool | None = Field(None, description="add a linear map of the features to the last layer's output")
    bias_length: float | None = Field(None, ge=0, description="length that the last layer's bias starts with; 0: none")
    standardize: bool = Field(True, description="scale inputs by the training rows' mean and deviation")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="held out from train where there is no val split")

    prior: str = Field("spl", description="spl, orthogonal, candidate:MODALITY, or a prior.safetensors file")
    score_on: Literal["train", "val"] = Field("train", description="rows that a candidate's quality score is taken on")
    batch_size: int | None = Field(None, ge=1, description="rows per optimiser step, about: an epoch is cut evenly")
    spl_steps: int | None = Field(None, ge=1, description="optimiser steps of stage 1, rounded up to whole epochs")
    spl_epochs: int | None = Field(None, ge=1, description="epochs of stage 1; counts before spl_steps")
    spl_lr: float | None = Field(None, gt=0, description="learning rate of stage 1")
    steps: int | None = Field(None, ge=1, description="optimiser steps of stage 2, rounded up to whole epochs")
    epochs: int | None = Field(None, ge=1, description="epochs of stage 2; counts before steps")
    lr: float | None = Field(None, gt=0, description="learning rate of stage 2")
    modality_lr: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="learning rate of stage 2 by modality: modality_lr.image=6e-6"
    )
    lr_schedule: Literal["constant", "cosine"] | None = Field(None, description="course of both rates")

    alpha: float = Field(0.1, ge=0, description="weight of the structure losses (intra + inter)")
    beta: float = Field(0.1, ge=0, description="weight of the recast regression (mse)")
    eta: float = Field(1.0, ge=0, description="weight of the classification (GCE)")
    gamma: float = Field(0.9, ge=0, le=1, description="share of itself a sample keeps in feature augmentation; 1: off")
    spl_keep: Literal["best", "last"] = Field("best", description="epoch of stage 1 whose W is the candidate")
    gce: bool = Field(True, description="false: cross entropy, q = 0 throughout")
    q_epochs: int | None = Field(None, ge=1, description="epochs until q of GCE has grown from 0 to 1; half of them")
    q_max: float | None = Field(None, ge=0, le=1, description="what q of GCE grows to")
    logit_scale: float | None = Field(None, gt=0, description="factor of z W before the softmax")
    embedding: Literal["unit", "recast"] | None = Field(
        None, description="what a sample is embedded as: z, or its class posterior recast (docs/methods/drcl.md)"
    )
    select: Literal["loss", "last"] | None = Field(
        None, description="epoch kept of stage 2: the lowest validation loss's, or the last"
    )

    class_weight: Literal["none", "balanced"] = Field(
        "none", description="balanced: every class weighs the same in GCE, however many rows it has"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of the branch")
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout after each hidden layer")
    input_noise: float | None = Field(None, ge=0, description="deviation of Gaussian noise on the features")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the features")

    precision: Literal["float32", "bf16"] = Field("float32", description="of the branch's matrix products in training")
    compile: bool = Field(False, description="torch.compile the step (on a GPU: with CUDA graphs)")
    memory: str = Field("auto", description="what features may take, for example 2GB, or half of what is free")
    relevance: str = Field("any", description="what eval counts for multi-label rows: see xfeat eval --relevance")

    @property
    def holds_out(self) -> bool:
        """Whether rows are held out from train where there is no val split: only where they decide something."""
        chosen = self.select or _preset(self.size)["select"]
        return chosen == "loss" or self.score_on == "val"

    def resolved(self, rows: int, classes: int, out: int | None = None, dim: int | None = None) -> "DrclSettings":
        """Every open setting filled in for one modality, from ``size`` and from that modality's own data alone.

        Args:
            rows: its training rows.
            classes: C.
            out: O of the prior it must meet; None where the prior is still to be learned.
            dim: D; None where it does not matter yet.

        Returns:
            Settings in which nothing is None but the step counts, which have become epochs, and perhaps ``q_epochs``.
        """
        preset = _preset(self.size)
        if self.size == "small":
            preset["steps"] = min(max(rows, SMALL_STEPS[0]), SMALL_STEPS[1])
            preset["input_noise"] = _small_noise(rows, dim) if self.standardize else 0.0
            preset["skip"] = dim is not None and dim <= SKIP_DIMS and SKIP_ROWS * dim <= rows
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        # Whichever way a duration is given, it replaces the preset's in both units.
        for steps, epochs in (("spl_steps", "spl_epochs"), ("steps", "epochs")):
            if steps in given or epochs in given:
                preset.pop(steps, None)
                preset.pop(epochs, None)
        chosen = {**preset, **given}
        chosen["out"] = out or chosen.get("out") or max(SMALL_OUT, classes + ROOM)
        chosen.setdefault("batch_size", _small_batch(rows))
        batches = batch_count(rows, chosen["batch_size"])
        for steps, epochs in (("spl_steps", "spl_epochs"), ("steps", "epochs")):
            wanted = chosen.pop(steps, None) or 1
            # Steps that were asked for are kept to; only the preset's grow with the data.
            least = 1 if steps in given else MIN_EPOCHS
            chosen.setdefault(epochs, max(least, math.ceil(wanted / batches)))
        return DrclSettings(**chosen)

    def q_ramp(self, epochs: int) -> int:
        """Epochs until q reaches 1 in a stage of ``epochs``: as set, or half of the stage (the paper's 100 of 200)."""
        return self.q_epochs or max(1, epochs // 2)


def _preset(size: str) -> dict[str, Any]:
    return dict(PAPER if size == "paper" else SMALL)


def _small_noise(rows: int, dim: int | None) -> float:
    """The square root of D / n within bounds, less where D is small: the fewer rows for a dimension, the more blur."""
    dim = dim or rows
    noise = min(SMALL_NOISE[1], math.sqrt(dim / rows) * min(1.0, dim / NOISE_DIMS))
    return noise if noise >= SMALL_NOISE[0] else 0.0


def _small_batch(rows: int) -> int:
    """Largest power of two that gives an epoch 32 steps, within bounds."""
    least, most = SMALL_BATCHES
    return min(most, max(least, 1 << max(0, (rows // 32).bit_length() - 1)))
