"""The branch network of one modality: a small perceptron that ends on the unit sphere.

DRCL (arXiv 2501.05686): Linear-ReLU-Linear-ReLU-Linear without bias, then each row divided by its length; the last
layer starts uniform in +-1/sqrt(input width).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads.dropout import dropout_mask


class Branch(nn.Module):
    """Cached features to embeddings.

    Args:
        in_dim: D, width of the cached features.
        hidden: H, width of both hidden layers.
        out_dim: O, width of the shared space.
        dropout: in [0, 1), after each hidden layer.
        input_dropout: in [0, 1), on the features.
        layers: hidden layers, 1 or 2 (the paper's).
        bias_length: length that a bias of the last layer starts with, in a random direction; 0 (the paper's): none.
            Dividing by the row's length forgets how sure the network is; against a fixed bias a long row and a short
            one end in different places.
        skip: add a linear map of the features, which starts at zero, to the last layer's output.

    Shape:
        (B, D) float -> (B, O) float, rows of unit length.

    The parameters are drawn from torch's default generator: seed it, and the network is determined. Dropout acts where
    masks are given and nowhere else, so that the network is a function of its inputs alone.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        layers: int = 2,
        bias_length: float = 0.0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.input = nn.Linear(in_dim, hidden)
        self.hidden = nn.Linear(hidden, hidden) if layers > 1 else None
        self.output = nn.Linear(hidden, out_dim, bias=bias_length > 0)
        self.skip = nn.Linear(in_dim, out_dim, bias=False) if skip else None
        if self.skip is not None:
            nn.init.zeros_(self.skip.weight)
        nn.init.uniform_(self.output.weight, -(in_dim**-0.5), in_dim**-0.5)
        if bias_length > 0:
            with torch.no_grad():
                self.output.bias.copy_(bias_length * normalize(torch.randn(out_dim), dim=0))
        self.dropout, self.input_dropout = dropout, input_dropout

    def masks(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Dropout masks for a batch, by the layer they follow; none where nothing is dropped."""
        widths = {"features": self.input.in_features, "input": self.input.out_features}
        if self.hidden is not None:
            widths["hidden"] = self.hidden.out_features
        found = {}
        for name, width in widths.items():
            p = self.input_dropout if name == "features" else self.dropout
            if p > 0:
                found[name] = dropout_mask(rows, width, p, generator)
        return found

    def forward(self, features: Tensor, masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Embed a batch; see the class for shapes, ``masks`` for training with dropout."""
        masks = masks or {}
        x = _masked(features, masks.get("features"))
        straight = None if self.skip is None else self.skip(x)
        x = _masked(self.input(x).relu(), masks.get("input"))
        if self.hidden is not None:
            x = _masked(self.hidden(x).relu(), masks.get("hidden"))
        z = self.output(x) if straight is None else self.output(x) + straight
        # In bfloat16 a row's length would be rounded with everything else.
        return normalize(z.float() if z.dtype is torch.bfloat16 else z, dim=1)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask.to(x.dtype)
