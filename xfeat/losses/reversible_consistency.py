"""Consistency between labels recast into the embedding space and the embeddings of one batch, in the label's algebra.

DRCL (arXiv 2501.05686), reversible semantic consistency: with R = Y P the recast labels, Z the embeddings and
S(A, B) = 2 cos(A_i, B_j),

    intra = mean (S(R,R) - S(Z,Z))^2,  inter = mean (S(R,Z) - S(R,Z)^T)^2,  mse = mean (R - Z)^2.

R has rank C at most. With P = L F, the rows of F (r x O, r <= C) orthonormal, R is A = Y L as seen in the frame F, and
the part of Z in that frame is V = Z F^T. Let a, z and v be A, Z and V with rows divided by the lengths of those of R, Z
and Z. Then no B x B product with R is needed:

    |R R^T|^2 = |a^T a|^2,  <R R^T, Z Z^T> = |a^T z|^2,  |R Z^T|^2 = <a^T a, v^T v>,  <R Z^T, Z R^T> = tr (a^T v)^2.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

EPSILON = 1e-12  # least length that a row is divided by


class Consistency(NamedTuple):
    """The three terms, scalars.

    Attributes:
        intra: in [0, 16]: structure inside the modality follows the structure of the labels.
        inter: in [0, 16]: label-to-embedding structure is symmetric.
        mse: embeddings follow the recast labels.
    """

    intra: Tensor
    inter: Tensor
    mse: Tensor


def factored(recast: Tensor) -> tuple[Tensor, Tensor]:
    """P (C, O) as L F: L (C, r) and F (r, O) with orthonormal rows, r = min(C, O), computed in float64."""
    frame, mixing = torch.linalg.qr(recast.double().T)
    return mixing.T.to(recast.dtype).contiguous(), frame.T.to(recast.dtype).contiguous()


def reversible_consistency(targets: Tensor, embeddings: Tensor, mixing: Tensor, frame: Tensor) -> Consistency:
    """Intra- and inter-structure loss and recast regression, without a B x B product of labels.

    Equal to the definition up to rounding. Where r exceeds B the definition is the shorter way, and is taken.

    Args:
        targets: (B, C) float class weights Y.
        embeddings: (B, O) float Z. Rows need not have unit length; a zero row has cosine 0 with everything.
        mixing: (C, r) float L of ``factored(pinv(W))``.
        frame: (r, O) float F.

    Raises:
        ValueError: shapes that do not fit together.
    """
    rows, width = embeddings.shape
    rank = len(frame)
    if targets.shape != (rows, len(mixing)) or mixing.shape[1] != rank or frame.shape[1] != width:
        shapes = ", ".join(str(tuple(part.shape)) for part in (targets, embeddings, mixing, frame))
        raise ValueError(
            f"targets (B, C), embeddings (B, O), mixing (C, r), frame (r, O) do not fit together: {shapes}"
        )
    r = targets @ mixing
    if rank > rows:
        return _by_definition(r @ frame, embeddings)
    length = embeddings.norm(dim=1, keepdim=True).clamp_min(EPSILON)
    a, z, inside = normalize(r, dim=1), embeddings / length, embeddings @ frame.T
    v = inside / length
    labels, turned = a.T @ a, a.T @ v
    intra = labels.square().sum() - 2 * (a.T @ z).square().sum() + _gram_norm(z)
    inter = (labels * (v.T @ v)).sum() - (turned * turned.T).sum()
    # What lies in the frame is compared there; the rest of an embedding has nothing to follow.
    mse = (r - inside).square().sum() + embeddings.square().sum() - inside.square().sum()
    # S carries a factor 2, its square 4.
    return Consistency(4 * intra / rows**2, 8 * inter / rows**2, mse / embeddings.numel())


def _gram_norm(z: Tensor) -> Tensor:
    """|Z Z^T|^2, by the smaller of Z Z^T and Z^T Z."""
    rows, width = z.shape
    # The gradient through one factor is half of the whole, and half of the work.
    half = (z.detach() @ z.T if rows <= width else z.detach().T @ z).square().sum()
    return 2 * half - half.detach()


def _by_definition(r: Tensor, embeddings: Tensor) -> Consistency:
    unit, z = normalize(r, dim=1), normalize(embeddings, dim=1)
    cross = unit @ z.T
    intra = 4 * (unit @ unit.T - z @ z.T).square().mean()
    inter = 4 * (cross - cross.T).square().mean()
    return Consistency(intra, inter, (r - embeddings).square().mean())
