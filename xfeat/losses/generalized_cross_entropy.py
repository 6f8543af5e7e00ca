"""Generalised cross entropy (GCE): between cross entropy and mean absolute error, robust to wrong labels.

Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018,
eq. 6. DRCL (arXiv 2501.05686) lets q grow from 0 to 1 while it trains.
"""

import torch
from torch import Tensor


def class_log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Log of the probability that a softmax gives to each sample's own classes.

    Args:
        logits: (B, C) float.
        targets: (B, C) non-negative class weights; a row counts in proportion to its sum (one-hot, multi-hot or mixed).

    Returns:
        (B,) values <= 0: ``log sum_c y_c softmax_c`` with y scaled to sum 1. A row without classes gives NaN.
    """
    weights = targets / targets.sum(dim=1, keepdim=True)
    # Summed in the log domain: exact where a probability underflows to 0.
    return (logits.log_softmax(dim=1) + weights.log()).logsumexp(dim=1)


def generalized_cross_entropy(
    logits: Tensor, targets: Tensor, q: float | Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean over the batch of ``(1 - p^q) / q``, p the probability given to the sample's own classes.

    Args:
        logits: (B, C) float, unnormalised scores.
        targets: (B, C) non-negative class weights, each row with a positive sum.
        q: in [0, 1]. At 0 the loss is its limit ``-log p``, cross entropy; at 1 it is ``1 - p``. As a scalar tensor it
            is not checked, and a compiled or captured step need not be made anew when it changes.
        weights: (B,) factor of each sample; None is 1 throughout. The mean is still over B.

    Returns:
        Scalar >= 0. Where a row has no class it is NaN: labels are checked when they are read, because a look at
        values here would stall a GPU at every step.

    Raises:
        ValueError: q outside [0, 1], or logits and targets of different shapes.

    Example:
        >>> generalized_cross_entropy(torch.zeros(1, 4), torch.eye(4)[:1], q=1.0)
        tensor(0.7500)
    """
    if not isinstance(q, Tensor) and not 0.0 <= q <= 1.0:
        raise ValueError(f"q must lie in [0, 1], got {q}")
    if logits.shape != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must have one shape")
    each = _each(class_log_probability(logits, targets), q)
    return each.mean() if weights is None else (each * weights).mean()


def _each(log_p: Tensor, q: float | Tensor) -> Tensor:
    # expm1 keeps the digits that 1 - p^q loses at small q.
    if isinstance(q, Tensor):
        divisor = torch.where(q > 0, q, 1.0)
        return torch.where(q > 0, -(q * log_p).expm1() / divisor, -log_p)
    return -log_p if q == 0.0 else -(q * log_p).expm1() / q
