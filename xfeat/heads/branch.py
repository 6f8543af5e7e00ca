"""The branch network of one modality: a small perceptron that ends on the unit sphere.

DRCL (arXiv 2501.05686): Linear-ReLU-Linear-ReLU-Linear without bias, then each row divided by its length; the last
layer starts uniform in +-1/sqrt(input width).
"""

from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads.dropout import Dropout


class Branch(nn.Module):
    """Cached features to embeddings.

    Args:
        in_dim: D, width of the cached features.
        hidden: H, width of both hidden layers.
        out_dim: O, width of the shared space.
        dropout: in [0, 1), after each hidden layer.
        input_dropout: in [0, 1), on the features.

    Shape:
        (B, D) float -> (B, O) float, rows of unit length.

    The parameters are drawn from torch's default generator: seed it, and the network is determined.
    """

    def __init__(
        self, in_dim: int, hidden: int, out_dim: int, *, dropout: float = 0.0, input_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input = nn.Linear(in_dim, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, out_dim, bias=False)
        nn.init.uniform_(self.output.weight, -(in_dim**-0.5), in_dim**-0.5)
        self.input_dropout = Dropout(input_dropout)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Embed a batch; see the class for shapes."""
        x = self.dropout(self.input(self.input_dropout(features)).relu())
        x = self.dropout(self.hidden(x).relu())
        return normalize(self.output(x), dim=1)
