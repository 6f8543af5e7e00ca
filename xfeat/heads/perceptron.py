"""A small perceptron with an open end: Linear-ReLU-Linear, and a linear map beside it where that is asked for."""

import torch
from torch import Tensor, nn

from xfeat.heads.dropout import dropout_mask


class Perceptron(nn.Module):
    """Cached features to rows of any length.

    Args:
        in_dim: D.
        hidden: H.
        out_dim: O.
        dropout: in [0, 1), after the hidden layer.
        skip: add a linear map of the features, which starts at zero.

    Shape:
        (B, D) float -> (B, O) float.

    The parameters are drawn from torch's default generator. Dropout acts where a mask is given and nowhere else, so
    that the network is a function of its inputs alone.
    """

    def __init__(self, in_dim: int, hidden: int, out_dim: int, *, dropout: float = 0.0, skip: bool = False) -> None:
        super().__init__()
        self.input, self.output = nn.Linear(in_dim, hidden), nn.Linear(hidden, out_dim)
        self.skip = nn.Linear(in_dim, out_dim, bias=False) if skip else None
        if self.skip is not None:
            nn.init.zeros_(self.skip.weight)
        self.dropout = dropout

    def mask(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """A dropout mask (rows, H) for a batch; None where nothing is dropped."""
        return dropout_mask(rows, self.input.out_features, self.dropout, generator) if self.dropout else None

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embed a batch; see the class for shapes, ``mask`` for training with dropout."""
        hidden = self.input(features).relu()
        z: Tensor = self.output(hidden if mask is None else hidden * mask)
        return z if self.skip is None else z + self.skip(features)
