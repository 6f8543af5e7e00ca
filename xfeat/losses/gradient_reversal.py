"""Gradient reversal: what follows learns a task that what comes before unlearns.

Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015, section 3.2.
"""

from typing import Any, cast

import torch
from torch import Tensor


def reverse_gradient(x: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """The input itself, whose gradient is multiplied by -weight on its way back.

    Args:
        x: float, any shape.
        weight: >= 0: the strength, often a ramp from 0 to 1. As a scalar tensor it is not checked, and a compiled or
            captured step need not be made anew when it changes; it takes no gradient.

    Returns:
        x, with its shape, dtype and values.

    Raises:
        ValueError: a negative weight, or a weight tensor with dimensions.
    """
    if isinstance(weight, Tensor):
        if weight.ndim:
            raise ValueError(f"weight must be a number or a scalar tensor, got shape {tuple(weight.shape)}")
    elif not weight >= 0:
        raise ValueError(f"weight must be >= 0, got {weight}")
    return cast(Tensor, _Reversal.apply(x, torch.as_tensor(weight, dtype=x.dtype)))


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return -weight * gradient, None
