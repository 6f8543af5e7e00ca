"""The branch network of one modality with two embeddings: of its input space and of the joint space.

SSPC (arXiv 2308.13077), section 3: tokens through a gated embedding unit and a LayerNorm, whose mean is the input
embedding; from there through transformer blocks of this modality alone, a mean and a gated projection to the joint one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xfeat.heads.dropout import dropout_mask
from xfeat.heads.gated import GatedEmbeddingUnit
from xfeat.heads.token_transformer import EPS, TokenTransformer, masked_mean, zero_padding


@dataclass
class GatedOutput:
    """What a branch makes of a batch.

    Attributes:
        input: (B, I) input embeddings.
        joint: (B, O) joint embeddings.

    Rows are of unit length; an input embedding is zeros for a row without tokens or of zeros.
    """

    input: Tensor
    joint: Tensor


class GatedBranch(nn.Module):
    """Cached features, pooled or as tokens, to an input and a joint embedding.

    Args:
        in_dim: D, width of the cached features.
        input_dim: width of the projected tokens.
        joint_dim: O, width of the joint space.
        depth: transformer blocks over the tokens; 0 is sensible for pooled vectors.
        heads: attention heads of a block; they divide ``input_dim``.
        dropout: in [0, 1), on the pooled vector before the joint projection.
        raw_input: take the mean of the cached features themselves as input embedding.

    Shape:
        (B, D), one token per row, or (B, T, D) with a mask (B, T) bool (None: no padding) -> :class:`GatedOutput`.

    Padding influences nothing, nor does the order of the tokens. The parameters are drawn from torch's default
    generator. Dropout acts where a mask is given and nowhere else, so that the network is a function of its inputs.

    Raises:
        ValueError: the heads do not divide ``input_dim`` where there are blocks.
    """

    def __init__(
        self,
        in_dim: int,
        input_dim: int,
        joint_dim: int,
        *,
        depth: int = 0,
        heads: int = 8,
        dropout: float = 0.0,
        raw_input: bool = False,
    ) -> None:
        super().__init__()
        self.embed = GatedEmbeddingUnit(in_dim, input_dim)
        self.norm = nn.LayerNorm(input_dim, eps=EPS)
        self.transformer = TokenTransformer(input_dim, depth, heads)
        self.project = GatedEmbeddingUnit(input_dim, joint_dim)
        self.in_dim, self.input_dim, self.joint_dim = in_dim, input_dim, joint_dim
        self.dropout, self.raw_input = dropout, raw_input

    @property
    def input_width(self) -> int:
        """I, width of the input embedding."""
        return self.in_dim if self.raw_input else self.input_dim

    def masks(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """The dropout mask of a batch, (rows, input_dim) float32; None where nothing is dropped."""
        return dropout_mask(rows, self.input_dim, self.dropout, generator) if self.dropout > 0 else None

    def forward(self, x: Tensor, mask: Tensor | None = None, drop: Tensor | None = None) -> GatedOutput:
        """Embed a batch; see the class for shapes, ``masks`` for ``drop``.

        Raises:
            ValueError: a mask beside pooled vectors.
        """
        if x.dim() == 2:
            if mask is not None:
                raise ValueError("pooled vectors (B, D) take no mask")
            x = x.unsqueeze(1)
        # Before the first layer: padding that is not finite would reach the weights' gradients through a product.
        x = zero_padding(x, mask)
        tokens = self.norm(self.embed(x))
        pooled = masked_mean(tokens, mask)
        anchor = masked_mean(x, mask) if self.raw_input else pooled
        if len(self.transformer.blocks):
            pooled = masked_mean(self.transformer(tokens, mask), mask)
        if drop is not None:
            pooled = pooled * drop.to(pooled.dtype)
        return GatedOutput(_unit(anchor), _unit(self.project(pooled)))


def _unit(x: Tensor) -> Tensor:
    # In bfloat16 a row's length would be rounded with everything else.
    return normalize(x.float() if x.dtype is torch.bfloat16 else x, dim=1, eps=EPS)
