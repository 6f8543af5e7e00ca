"""Independence: dimensions agree with themselves across two views of a batch, and with no other.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021,
eq. 1-2. CIIM (TPAMI 2024) states that embeddings are forced to satisfy properties of the causal mechanism; this form
of independence is chosen here, after Lv et al., "Causality Inspired Representation Learning for Domain
Generalization", CVPR 2022.
"""

import torch
from torch import Tensor

EPSILON = 1e-5  # a column whose spread is this share of its root mean square, or less, is constant up to rounding


def cross_correlation(a: Tensor, b: Tensor, *, off_diagonal: float = 0.005) -> Tensor:
    """Distance of the cross-correlation matrix of two views from the identity.

    With C = A^T B / N, A and B the views with columns standardised over the batch (population spread):

        sum_i (1 - C_ii)^2 + off_diagonal sum_i!=j C_ij^2.

    Args:
        a: (N, d) float, N >= 1. Rows need not have unit length; the scale and shift of a column do not matter.
        b: (N, d) float; row i shows the same sample as row i of a.
        off_diagonal: >= 0, weight of decorrelation.

    Returns:
        Scalar in [0, 4 d + off_diagonal d (d - 1)]. A constant column correlates with nothing: its correlations are 0,
        and it takes no gradient. So one row gives d, as does a collapsed batch.

    Raises:
        ValueError: a negative weight, no rows, or shapes that do not fit together.
    """
    if not off_diagonal >= 0:
        raise ValueError(f"off_diagonal must be >= 0, got {off_diagonal}")
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"a (N, d) and b (N, d), N >= 1, do not fit together: {tuple(a.shape)}, {tuple(b.shape)}")
    correlation = standardised(a).T @ standardised(b) / len(a)
    itself = torch.eye(len(correlation), dtype=torch.bool, device=a.device)
    disagreement = (1 - correlation.diagonal()).square().sum()
    return disagreement + off_diagonal * correlation.masked_fill(itself, 0.0).square().sum()


def standardised(x: Tensor) -> Tensor:
    """Columns of (N, d) with mean 0 and population variance 1; a constant one is 0, without gradient."""
    centred = x - x.mean(dim=0)
    variance = centred.square().mean(dim=0)
    varies = (variance > EPSILON**2 * x.square().mean(dim=0)).detach()
    # Replaced before the root: its gradient at 0 is infinite.
    return centred.where(varies, 0.0) * variance.where(varies, 1.0).rsqrt()
