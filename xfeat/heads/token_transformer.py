"""Transformer blocks over padded sets of tokens.

Vaswani et al. (arXiv 1706.03762) with the norm before each part, Xiong et al. (arXiv 2002.04745). There is no position
embedding: the tokens of a sample are a set, and their order changes nothing.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import gelu, scaled_dot_product_attention

from xfeat.heads.dropout import dropout_mask

EPS = 1e-6


def zero_padding(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Tokens (B, T, D) with zeros where the mask (B, T) is False, whatever lay there, NaN included."""
    return tokens if mask is None else tokens.where(mask[..., None], tokens.new_zeros(()))


def masked_mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each row's tokens.

    Args:
        tokens: (B, T, D) float.
        mask: (B, T) bool, True at tokens, False at padding; None: every token counts.

    Returns:
        (B, D); zeros, with gradients of zero, for a row without any token.
    """
    if mask is None:
        return tokens.mean(dim=1)
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return zero_padding(tokens, mask).sum(dim=1) / count.to(tokens.dtype)


class TokenTransformer(nn.Module):
    """Blocks of self-attention and a two-layer perceptron, each added to its input, and a last LayerNorm.

    Args:
        dim: D, width of the tokens.
        depth: number of blocks; 0: the tokens are returned as they are, without the last norm.
        heads: attention heads; they divide D.
        mlp_ratio: hidden width of the perceptron, in D.
        dropout: in [0, 1), on what each part adds; one mask for all tokens of a row.

    Shape:
        (B, T, D) float, mask (B, T) bool or None -> (B, T, D) float, zeros at padding.

    Padding influences nothing. Dropout acts where masks are given and nowhere else.

    Raises:
        ValueError: the heads do not divide D.
    """

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, heads, round(mlp_ratio * dim)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS) if depth else None
        self.dim, self.dropout = dim, dropout

    def masks(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """Dropout masks of a batch, (rows, 2 * depth, D) float32; None where nothing is dropped."""
        parts = 2 * len(self.blocks)
        if not parts or not self.dropout:
            return None
        return dropout_mask(rows, parts * self.dim, self.dropout, generator).view(rows, parts, self.dim)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        """Transform the tokens of a batch; see the class for shapes, ``masks`` for ``drop``."""
        if self.norm is None:
            return zero_padding(tokens, mask)
        keys = None
        if mask is not None:
            # A softmax over nothing is not a number: a row without tokens looks at its zeros, which are then dropped.
            keys = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
        x = zero_padding(tokens, mask)
        for i, block in enumerate(self.blocks):
            x = block(x, keys, None if drop is None else drop[:, 2 * i : 2 * i + 2].to(x.dtype))
        return zero_padding(self.norm(x), mask)


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} attention heads do not divide a width of {dim}")
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=EPS), nn.LayerNorm(dim, eps=EPS)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.heads = heads

    def forward(self, x: Tensor, keys: Tensor | None, drop: Tensor | None) -> Tensor:
        added = self._attention(self.norm1(x), keys)
        x = x + (added if drop is None else added * drop[:, :1])
        added = self.fc2(gelu(self.fc1(self.norm2(x))))
        result: Tensor = x + (added if drop is None else added * drop[:, 1:])
        return result

    def _attention(self, x: Tensor, keys: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        # On a CPU the fused kernel cannot be stacked (vmap), nor is it faster for the few tokens of a sample.
        with sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext():
            found = scaled_dot_product_attention(q, k, v, attn_mask=keys)
        attended: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return attended
