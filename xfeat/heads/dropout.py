"""Dropout whose mask is cheap to draw on a CPU.

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014; inverted scaling.
"""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zeroes each value with probability p while training and scales the others by 1 / (1 - p).

    PyTorch's own draws its mask with ``bernoulli_``, which on a CPU costs far more than uniform numbers and shows in
    the training step of a small branch (benchmarks/train_drcl.py). On a GPU this one calls it.

    Args:
        p: in [0, 1).

    Raises:
        ValueError: p outside [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"p must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, floating point; the same shape."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        kept = torch.rand_like(x) >= self.p
        return x * (kept * (1 / (1 - self.p)))

    def extra_repr(self) -> str:
        """Shown by ``print``."""
        return f"p={self.p}"
