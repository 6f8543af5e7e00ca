"""DRCL: Deep Reversible Consistency Learning. TMM 2025, arXiv 2501.05686.

Stage 1 (SPL) learns, for every modality on its own, a prior W (O x C) and scores it; the best becomes the prior of all.
Stage 2 (RSC) trains every modality's branch against the frozen prior: labels y are recast to the modality-invariant
representation r = y pinv(W), and the branch follows r and the structure among recast labels. No branch sees another
modality.
"""

import torch
from torch import Tensor

from xfeat.heads import Branch
from xfeat.losses import class_log_probability
from xfeat.methods.base import Rows
from xfeat.methods.drcl_settings import DrclSettings

EMBED_ROWS = 8192  # rows per forward pass without gradients, so that memory stays bounded


def orthogonal_columns(rows: int, columns: int) -> Tensor:
    """The first columns of a random orthogonal rows x rows matrix (Haar), from torch's default generator.

    Args:
        rows: O.
        columns: C <= O.

    Returns:
        (O, C) float32 with orthonormal columns.

    Raises:
        ValueError: C > O.
    """
    if columns > rows:
        raise ValueError(f"{columns} classes need a shared space of at least as many dimensions, got {rows}")
    q, r = torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64))
    # QR's signs are not random; this makes the columns uniform over all orthonormal frames.
    frame: Tensor = q * r.diagonal().sign()
    return frame.float().contiguous()


def schedule_q(settings: DrclSettings, epoch: int, epochs: int) -> float:
    """GCE's q in an epoch (counted from 0) of a stage: grows linearly from 0 to its most; 0 where GCE is off."""
    most = 1.0 if settings.q_max is None else settings.q_max
    return most * min(1.0, epoch / settings.q_ramp(epochs)) if settings.gce else 0.0


def recast_matrix(prior: Tensor) -> Tensor:
    """P = pinv(W): a label row y is recast to the modality-invariant representation r = y P.

    Args:
        prior: (O, C) W.

    Returns:
        (C, O) of W's dtype, computed in float64.
    """
    inverse: Tensor = torch.linalg.pinv(prior.double())
    return inverse.to(prior.dtype)


def make_branch(dim: int, settings: DrclSettings) -> Branch:
    """A branch D -> O of resolved settings, drawn from torch's default generator."""
    if settings.hidden is None or settings.out is None or settings.dropout is None:
        raise ValueError("settings are not resolved")
    return Branch(
        dim,
        settings.hidden,
        settings.out,
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
        layers=settings.layers or 2,
        bias_length=settings.bias_length or 0.0,
        skip=bool(settings.skip),
    )


@torch.no_grad()
def embed(branch: Branch, features: Tensor) -> Tensor:
    """Embeddings of (n, D) features: (n, O), rows of unit length; in pieces."""
    return torch.cat([branch(piece) for piece in features.split(EMBED_ROWS)])


@torch.no_grad()
def quality_score(branch: Branch, prior: Tensor, rows: Rows, *, scale: float = 1.0, most: int | None = None) -> Tensor:
    """Mean softmax probability of the true label under ``s f(x) W``, in [0, 1]: how good a candidate prior W is.

    Args:
        branch: f.
        prior: (O, C) W.
        rows: what it is scored on.
        scale: s, of the logits.
        most: look at so many rows, spread evenly, where there are more.
    """
    total, count = torch.zeros((), device=prior.device), 0
    for x, y in rows.pieces(most):
        total = total + class_log_probability(scale * (branch(x) @ prior), y).exp().sum()
        count += len(x)
    return total / count
