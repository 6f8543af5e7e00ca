"""DRCL when new classes arrive: columns for them in the prior, and a short training of branches that are there.

New columns lie in the orthogonal complement of span(W), are orthogonal to each other, and are as long as W's columns
on average. Matrices of orthogonal column spaces have pinv([W, V]) = [pinv(W); pinv(V)], and where V's own columns are
orthogonal row i of pinv(V) is v_i / |v_i|^2. So the recast representation r = y pinv(W) of every old label stays what
it was, and a branch that never hears of the new classes still meets those that do.

This is no part of the paper (arXiv 2501.05686), whose classes are fixed.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from xfeat.methods.base import BranchData
from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.drcl_stages import RscStage

Tune = Literal["output", "all"]
SHARE = 0.4  # of stage 2's epochs
# Of stage 2's learning rate. Above what is frozen there is one linear map to fit, which nothing else follows.
RATES: Mapping[Tune, float] = {"output": 10.0, "all": 1.0}
TINY = 1e-3  # length of a class mean (of unit vectors) outside of what is taken, below which it gives no direction


def new_columns(prior: Tensor, means: Tensor, random: Tensor) -> Tensor:
    """Columns of W for new classes.

    One class after the other: the part of its mean embedding that lies outside of W and of the columns before it gives
    the direction; where next to nothing of it does, the random vector's part.

    Args:
        prior: (O, C) W.
        means: (O, n) mean embedding of each new class, of length 1 at most; n <= O - C.
        random: (O, n) for classes whose mean embedding lies in what is taken.

    Returns:
        (O, n) of W's dtype, computed in float64.

    Raises:
        ValueError: no room for n columns.
    """
    rows, columns = prior.shape
    if columns + means.shape[1] > rows:
        raise ValueError(f"{columns} + {means.shape[1]} classes need as many dimensions, there are {rows}")
    wide = prior.double()
    taken, values, _ = torch.linalg.svd(wide, full_matrices=False)
    # A prior from a file may have less than full rank: what it does not span is free.
    basis = taken[:, values > values.max() * rows * torch.finfo(prior.dtype).eps]
    for mean, spare in zip(means.double().T, random.double().T, strict=True):
        direction = _outside(basis, mean)
        if direction.norm() < TINY:
            direction = _outside(basis, spare)
        # Once more: what rounding left inside counts as much as what is outside when that is short.
        direction = _outside(basis, direction / direction.norm())
        basis = torch.cat([basis, (direction / direction.norm()).unsqueeze(1)], dim=1)
    made: Tensor = basis[:, basis.shape[1] - means.shape[1] :] * wide.norm(dim=0).mean()
    return made.to(prior.dtype)


def _outside(basis: Tensor, vector: Tensor) -> Tensor:
    return vector - basis @ (basis.T @ vector)


def growth_settings(settings: DrclSettings, tune: Tune) -> DrclSettings:
    """Settings of the short training, from those that stage 2 has for the grown rows.

    Args:
        settings: resolved.
        tune: what of the branch will move.
    """
    if settings.epochs is None or settings.lr is None:
        raise ValueError("settings are not resolved")
    factor = RATES[tune]
    rates = {name: rate * factor for name, rate in settings.modality_lr.items()}
    epochs = max(1, round(SHARE * settings.epochs))
    changes = {"epochs": epochs, "lr": settings.lr * factor, "modality_lr": rates, "lr_schedule": "cosine"}
    return settings.model_copy(update=changes)


class GrowthStage(RscStage):
    """Stage 2 from the weights that are there, on rows of old and new classes, against the grown prior.

    Args:
        data: one modality, scaled as the branch knows it.
        prior: (O, C + n) grown W.
        settings: of ``growth_settings``.
        head: the branch's parameters by name.
        tune: ``output`` moves the output layer alone, ``all`` everything.
    """

    def __init__(
        self, data: BranchData, prior: Tensor, settings: DrclSettings, head: Mapping[str, Tensor], tune: Tune
    ) -> None:
        super().__init__(data, prior, settings)
        self.objective.branch.load_state_dict(dict(head))
        if tune == "output":
            # Without a gradient the optimiser leaves a parameter alone, weight decay included.
            for name, parameter in self.objective.branch.named_parameters():
                parameter.requires_grad_(name.startswith("output."))
