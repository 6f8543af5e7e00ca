"""Every setting of CIIM, validated, and how the ones left open follow from the data."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xfeat.errors import InputError
from xfeat.methods.settings import class_names

LEAST_ROWS, MOST_ROWS = 64, 256  # of a modality in a batch, where neither classes nor samples are given
CLASSES = 32  # of a batch, at most
MOST_BATCH = 4096  # rows of a modality in a batch, however they are asked for
STEPS = 300
LEAST_EPOCHS = 10
SKIP_DIMS, SKIP_ROWS = 32, 10  # a linear map helps few dimensions, given so many rows for each
NOISE_DIMS = 100  # below so many, dimensions are too few to be blurred as much
NOISE = (0.05, 0.5)  # least and most deviation of the noise on standardised features; none below the least


class CiimSettings(BaseModel):
    """Settings of CIIM (TPAMI 2024, doi 10.1109/TPAMI.2024.3379752). One left at None follows from the data.

    No setting of the paper is public: all defaults are chosen here (docs/methods/ciim.md).

    Raises:
        pydantic.ValidationError: an unknown setting or a value outside its range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    hidden: int = Field(256, ge=1, description="width of each branch's hidden layer")
    out: int = Field(128, ge=2, description="d, width of the metric space")
    skip: bool | None = Field(None, description="add a linear map of the features to a branch; where D is small")
    reconstructor: int = Field(256, ge=0, description="width of the reconstructor's hidden layer; 0: none")
    standardize: bool = Field(True, description="scale inputs by the training rows' mean and deviation")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout after the hidden layer")
    input_noise: float | None = Field(None, ge=0, description="deviation of Gaussian noise on features; by rows and D")
    classes: list[str] = Field([], description="train on these classes only (patterns such as Latin/* too); [] for all")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="held out from train for select=best without a val split")

    single: float = Field(1.0, ge=0, description="weight of Proxy-Anchor on each modality's own proxies")
    hybrid: float = Field(1.0, ge=0, description="weight of Proxy-Anchor on the hybrid proxies of all modalities")
    interaction: float = Field(1.0, ge=0, description="weight of the pull between single and hybrid proxies")
    scale: float = Field(2.0, gt=0, description="of Proxy-Anchor")
    margin: float = Field(0.1, ge=0, description="of Proxy-Anchor")
    pairs: float = Field(2.0, ge=0, description="weight of the multi-similarity loss on mined pairs")
    within: float = Field(0.5, ge=0, description="share of pairs within a modality, beside those across")
    epsilon: float = Field(0.1, ge=0, description="slack of the pair mining")
    alpha: float = Field(2.0, gt=0, description="sharpness of multi-similarity among positive pairs")
    beta: float = Field(5.0, gt=0, description="sharpness of multi-similarity among negative pairs")
    base: float = Field(0.2, ge=-1, le=1, description="cosine that multi-similarity weighs pairs around")

    intervention: bool = Field(True, description="exchange biases; false: the refined row is reconstructed")
    interventions: int | None = Field(
        None, ge=1, description="modalities whose bias is put in at a training step, drawn anew; all of them"
    )
    invariance: float = Field(0.0, ge=0, description="weight of agreement between interventions")
    separation: float = Field(0.0, ge=0, description="weight of the modality classifiers, reversed for the causal part")
    independence: float = Field(0.0, ge=0, description="weight of cross-correlation between two interventions")
    sufficiency: float = Field(0.0, ge=0, description="weight of what the causal part alone classifies")

    batch_classes: int | None = Field(None, ge=2, description="P, classes in a batch")
    batch_samples: int | None = Field(None, ge=1, description="S, rows of each of them from every modality")
    steps: int | None = Field(None, ge=1, description="optimiser steps, rounded up to whole epochs")
    epochs: int | None = Field(None, ge=1, description="passes over the largest modality; counts before steps")
    lr: float = Field(2e-3, gt=0, description="learning rate of Adam")
    lr_schedule: Literal["constant", "cosine"] = Field("cosine", description="its course")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    select: Literal["last", "best"] = Field("last", description="epoch kept: the last, or the best on val rows")
    memory: str = Field("auto", description="what features may take, for example 2GB, or half of what is free")

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return class_names(value)

    @property
    def holds_out(self) -> bool:
        """Whether rows are held out from train where there is no val split: only where they choose the epoch."""
        return self.select == "best"

    def skips(self, rows: int, dim: int) -> bool:
        """Whether a modality's branch has a linear map beside it: as set, or where few dimensions have many rows."""
        return self.skip if self.skip is not None else dim <= SKIP_DIMS and SKIP_ROWS * dim <= rows

    def noise(self, rows: int, dim: int) -> float:
        """Deviation of the noise on a modality's features: as set, or more the fewer rows there are for a dimension."""
        if self.input_noise is not None:
            return self.input_noise
        if not self.standardize:
            return 0.0
        noise = min(NOISE[1], math.sqrt(dim / rows) * min(1.0, dim / NOISE_DIMS))
        return noise if noise >= NOISE[0] else 0.0

    def resolved(self, rows: int, classes: int) -> "CiimSettings":
        """Every open setting filled in.

        Args:
            rows: training rows of the largest modality.
            classes: C that are trained on.

        Raises:
            InputError: one class, weights that leave nothing to train for, or a batch that is too large.
        """
        if classes < 2:
            raise InputError(f"{classes} class to train on: a metric needs two or more")
        if not (self.single or self.hybrid or self.pairs):
            raise InputError("single=0, hybrid=0 and pairs=0 leave nothing to train for: set one of them")
        chosen = {name: value for name, value in self.model_dump().items() if value is not None}
        p = min(classes, chosen.setdefault("batch_classes", min(classes, CLASSES)))
        wanted = min(MOST_ROWS, max(LEAST_ROWS, rows // 10))
        # No more than an epoch, in which every row comes once.
        s = min(chosen.get("batch_samples") or max(2, round(wanted / p)), max(2, math.ceil(rows / p)))
        if p * s > MOST_BATCH:
            raise InputError(
                f"batches of {p:,} classes x {s:,} rows: every row meets every other, so {MOST_BATCH:,} of a modality "
                "are the most; lower batch_classes or batch_samples"
            )
        chosen |= {"batch_classes": p, "batch_samples": s}
        batches = max(1, round(rows / (p * s)))
        if not self.epochs:
            steps = chosen.pop("steps", None)
            chosen["epochs"] = math.ceil(steps / batches) if steps else max(LEAST_EPOCHS, math.ceil(STEPS / batches))
        chosen.pop("steps", None)
        return CiimSettings(**chosen)
