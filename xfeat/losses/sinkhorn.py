"""Sinkhorn-Knopp: soft targets in which every sample belongs to one anchor, and every anchor gets its share of samples.

Cuturi, "Sinkhorn Distances", NeurIPS 2013, algorithm 1, on logarithms; for targets as in Caron et al., "Unsupervised
Learning of Visual Features by Contrasting Cluster Assignments" (SwAV), NeurIPS 2020, eq. 3-5.
"""

import math

import torch
from torch import Tensor

from xfeat.losses.multi_sinkhorn import spread


@torch.no_grad()
def single_assignment(similarity: Tensor, *, eps: float = 0.07, iterations: int = 20) -> Tensor:
    """Targets of a batch, without gradient: rows of the plan of `log_plan`, each min-max normalised.

    Args:
        similarity: (B, K) float, of samples to anchors; any finite values.
        eps: > 0, the weight of entropy.
        iterations: >= 1.

    Returns:
        (B, K) in [0, 1], in the dtype of the similarity: 0 at the least of every row, at the greatest 1 but for a guard
        of 1e-5 in the division, as in `multi_assignment`. A row without differences is 0.

    Raises:
        ValueError: a setting outside its range.
    """
    if similarity.ndim != 2:
        raise ValueError(f"similarity must be (B, K), got {tuple(similarity.shape)}")
    if not eps > 0 or iterations < 1:
        raise ValueError(f"eps must be > 0 and iterations >= 1, got {eps} and {iterations}")
    return spread(log_plan(similarity, eps=eps, iterations=iterations).exp_()).to(similarity.dtype)


@torch.no_grad()
def log_plan(similarity: Tensor, *, eps: float = 0.07, iterations: int = 20) -> Tensor:
    """Logarithm (B, K), float64, of the plan: its rows sum to 1 and, in time, its columns to B / K."""
    rows, anchors = similarity.shape
    # Apple's GPUs have no float64.
    plan = similarity.to(torch.float32 if similarity.device.type == "mps" else torch.float64) / eps
    for _ in range(iterations):
        plan -= plan.logsumexp(0) - math.log(rows / anchors)
        plan -= plan.logsumexp(1, keepdim=True)
    return plan
