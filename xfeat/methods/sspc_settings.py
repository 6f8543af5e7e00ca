"""Every setting of SSPC, validated, and how the ones left open follow from the data."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xfeat.errors import InputError
from xfeat.methods.batches import batch_count
from xfeat.methods.settings import class_names

SMALL: dict[str, Any] = {
    "input_dim": 512,
    "joint_dim": 512,
    "lr": 1e-3,
    "lr_schedule": "cosine",
    "epochs": 36,
    "dropout": 0.0,
    "input_noise": 0.0,
    "temperature": 0.2,
    "input_anchors": "raw",
    "eps": 0.03,
}
# The paper's reference settings; pairs with audio weigh 0.1 there, which is `modality_weight.audio=0.1` here.
PAPER: dict[str, Any] = {
    "input_dim": 4096,
    "joint_dim": 6144,
    "batch_size": 216,
    "epochs": 15,
    "lr": 5e-5,
    "lr_schedule": "exponential",
    "ema": 0.9999,
    "dropout": 0.0,
    "input_noise": 0.0,
    "temperature": 0.05,
    "input_anchors": "projected",
    "eps": 0.07,
}
SMALL_BATCHES = (32, 256)  # least and most rows per step
# Of size=small, where neither steps nor epochs are given.
LEAST_STEPS, MOST_STEPS, LEAST_EPOCHS = 200, 4000, 10
EMA_SHARE = 0.1  # of a training that the averaged weights look back on at size=small
QUEUES = {"small": 256, "paper": 5500}  # at most: no longer than an epoch, so that it fills

Weight = Annotated[float, Field(ge=0)]


class SspcSettings(BaseModel):
    """Settings of SSPC (arXiv 2308.13077). One left at None follows from ``size`` and the data.

    Raises:
        pydantic.ValidationError: an unknown setting or a value outside its range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: Literal["small", "paper"] = Field(
        "small", description="sized from the data, or the paper's sizes and schedule"
    )
    input_dim: int | None = Field(None, ge=1, description="width of projected tokens and of the input embedding")
    joint_dim: int | None = Field(None, ge=1, description="width of the joint space")
    depth: int = Field(0, ge=0, description="transformer blocks of each modality over its tokens")
    heads: int = Field(8, ge=1, description="attention heads of a block; they divide input_dim")
    tokens: Literal["auto", "off"] = Field("auto", description="auto: token sequences where they were cached")
    standardize: bool = Field(True, description="scale inputs by the training rows' mean and deviation")
    dropout: float | None = Field(None, ge=0, lt=1, description="dropout before the joint projection")
    input_noise: float | None = Field(None, ge=0, description="deviation of Gaussian noise on the features")

    classes: list[str] = Field([], description="train on these classes only (patterns such as Latin/* too); [] for all")
    views: int = Field(
        1, ge=1, description="times an instance is drawn in an epoch, each time with a row of every modality"
    )

    alpha: float = Field(1.0, ge=0, description="weight of the contrastive loss")
    beta: float = Field(1.0, ge=0, description="weight of the anchor consistency; 0: contrastive only")
    temperature: float | None = Field(None, gt=0, description="of the contrastive loss")
    modality_weight: dict[str, Weight] = Field(
        {}, description="weight of a modality in every pair it is in: modality_weight.audio=0.1"
    )

    anchors: int = Field(64, ge=2, description="K, anchors of each space of each modality")
    input_anchors: Literal["projected", "raw"] | None = Field(
        None, description="what the input anchors lie among: projected tokens, or the cached features"
    )
    assignment: Literal["multi", "single"] = Field(
        "multi", description="single: ordinary Sinkhorn-Knopp, every sample to one anchor"
    )
    required: int | None = Field(None, ge=1, description="anchors a sample belongs to at once; half of them")
    slices: Literal["discrete", "continuous"] = Field("discrete", description="weights of the multiplicity slices")
    eps: float | None = Field(None, gt=0, description="entropy regularisation of the assignment")
    iterations: int = Field(20, ge=1, description="of the assignment")
    cost_temperature: float = Field(0.1, ge=0.02, description="of the consistency loss; exp(1 / it) must be finite")
    queue: int | None = Field(None, ge=0, description="earlier samples that an assignment is made among; 0: none")

    batch_size: int | None = Field(
        None, ge=2, description="instances per optimiser step, about: an epoch is cut evenly"
    )
    steps: int | None = Field(None, ge=1, description="optimiser steps, rounded up to whole epochs")
    epochs: int | None = Field(None, ge=1, description="passes over the instances; counts before steps")
    lr: float | None = Field(None, gt=0, description="learning rate of Adam")
    lr_schedule: Literal["constant", "cosine", "exponential"] | None = Field(None, description="its course")
    lr_decay: float = Field(0.9, gt=0, le=1, description="what an epoch leaves of an exponential learning rate")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    ema: float | None = Field(None, ge=0, lt=1, description="decay of the averaged weights; 0: none are kept")
    weights: Literal["auto", "raw", "ema"] = Field(
        "auto",
        description="weights that count: auto asks the val rows; without any, the averaged after a long training",
    )
    select: Literal["last", "best"] = Field("last", description="epoch kept: the last, or the best on the val split")
    memory: str = Field("auto", description="what features may take, for example 2GB, or half of what is free")

    @field_validator("tokens", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML reads the word

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return class_names(value)

    def resolved(self, instances: int) -> "SspcSettings":
        """Every open setting filled in, from ``size`` and the number of training instances.

        Raises:
            InputError: a batch that is larger than the data, more anchors required than there are, heads that do not
                divide the width, or averaged weights that are wanted and not kept.
        """
        chosen = {**_preset(self.size), **{k: v for k, v in self.model_dump().items() if v is not None}}
        # Whichever way a duration is given, it replaces the preset's in both units.
        if self.steps is not None or self.epochs is not None:
            chosen |= {"steps": self.steps, "epochs": self.epochs}
        drawn = instances * self.views
        chosen.setdefault("batch_size", _small_batch(drawn))
        _check_fits(chosen, instances, drawn)
        batches = batch_count(drawn, chosen["batch_size"])
        steps = chosen.pop("steps", None)
        if not chosen["epochs"]:
            chosen["epochs"] = max(1, math.ceil(steps / batches))
        elif self.epochs is None and self.size == "small":
            wanted = max(chosen["epochs"], math.ceil(LEAST_STEPS / batches))
            chosen["epochs"] = max(LEAST_EPOCHS, min(wanted, MOST_STEPS // batches))
        chosen.setdefault("ema", max(0.0, 1 - 1 / max(1.0, EMA_SHARE * chosen["epochs"] * batches)))
        if chosen["weights"] == "ema" and not chosen["ema"]:
            raise InputError("weights=ema, but ema=0 keeps no averaged weights: set one of them")
        chosen.setdefault("queue", min(QUEUES[self.size], drawn))
        chosen.setdefault("required", max(1, chosen["anchors"] // 2))
        return SspcSettings(**chosen)

    def pair_weight(self, one: str, other: str) -> float:
        """Weight of a pair of modalities: the product of theirs."""
        return self.modality_weight.get(one, 1.0) * self.modality_weight.get(other, 1.0)

    def check_modalities(self, names: Sequence[str]) -> None:
        """Refuse weights that do not fit the modalities.

        Raises:
            InputError: a name that no cache holds, or nothing that weighs anything.
        """
        for name in self.modality_weight:
            if name not in names:
                raise InputError(f"modality_weight.{name} is set, but the caches hold {', '.join(names)}")
        if not self.alpha and not self.beta:
            raise InputError("alpha=0 and beta=0 leave nothing to train for: set one of them")
        if not any(self.pair_weight(one, other) for one, other in combinations(names, 2)):
            raise InputError("modality_weight gives every pair of modalities the weight 0: leave one pair something")


def _preset(size: str) -> dict[str, Any]:
    return dict(PAPER if size == "paper" else SMALL)


def _check_fits(chosen: dict[str, Any], instances: int, drawn: int) -> None:
    if instances < 2:
        raise InputError("one training instance: a contrast needs two or more (rows that share a pair key)")
    if chosen["batch_size"] > drawn:
        raise InputError(
            f"batch_size={chosen['batch_size']} is larger than the {drawn:,} training instances: "
            f"--set batch_size={max(2, instances // 4)}, say"
        )
    if (chosen.get("required") or 1) > chosen["anchors"]:
        raise InputError(f"required={chosen['required']} anchors of {chosen['anchors']}: at most all of them")
    if chosen["depth"] and chosen["input_dim"] % chosen["heads"]:
        raise InputError(f"heads={chosen['heads']} do not divide input_dim={chosen['input_dim']}: choose others")


def _small_batch(instances: int) -> int:
    """Largest power of two that gives an epoch 10 steps, within bounds and the data."""
    least, most = SMALL_BATCHES
    wanted = min(most, max(least, 1 << max(0, (instances // 10).bit_length() - 1)))
    return max(2, min(wanted, instances))
