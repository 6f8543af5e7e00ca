"""A linear map whose outputs gate themselves.

Gated embedding unit: Miech, Laptev, Sivic, "Learning a Text-Video Embedding from Incomplete and Heterogeneous Data"
(arXiv 1804.02516), equations 3 and 4, without the final division by the length.
"""

from torch import Tensor, nn


class GatedEmbeddingUnit(nn.Module):
    """u = A x + a, then u * sigmoid(B u + b).

    Args:
        in_dim: D, width of the input.
        out_dim: O, width of the output.

    Shape:
        (..., D) float -> (..., O) float, any range.

    The parameters are drawn from torch's default generator.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)
        self.gate = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map and gate; see the class for shapes."""
        u: Tensor = self.linear(x)
        gate: Tensor = self.gate(u)
        return u * gate.sigmoid()
