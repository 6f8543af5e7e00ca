"""Multi-similarity: a soft maximum over the positive pairs of an anchor, and one over its negative pairs.

Wang, Han, Huang, Dong and Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
CVPR 2019: the second of their two steps (the first is `mine_pairs`), for any choice of pairs. CIIM (TPAMI 2024) states
a metric loss between samples; that it is this one is chosen here.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def multi_similarity(
    similarity: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
) -> Tensor:
    """Mean over all anchors of what their positive pairs lack and what their negative pairs have too much of.

    An anchor i, with P and N its positive and negative pairs, has

        log(1 + sum_P exp(-alpha (S_ij - base))) / alpha + log(1 + sum_N exp(beta (S_ij - base))) / beta,

    the mean is over all Q rows, as in the paper: one without pairs adds 0 and counts.

    Args:
        similarity: (Q, N) float, cosine of anchors (rows) and candidates, Q >= 1.
        positive: (Q, N) bool, pairs of one class; all of them, or those that `mine_pairs` keeps.
        negative: (Q, N) bool, pairs of two classes. A pair in neither mask has no influence, whatever its value is.
        alpha: > 0.
        beta: > 0.
        base: cosine from which on a positive pair counts less and a negative pair counts more.

    Returns:
        Scalar >= 0; where no pair is left it is 0, with gradient 0.

    Raises:
        ValueError: alpha or beta that is not positive, or shapes that do not fit together.
    """
    if not alpha > 0 or not beta > 0:
        raise ValueError(f"alpha and beta must be > 0, got {alpha} and {beta}")
    if similarity.ndim != 2 or not len(similarity) or not similarity.shape == positive.shape == negative.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (similarity, positive, negative))
        raise ValueError(f"similarity, positive and negative must have one shape (Q, N), Q >= 1, got {shapes}")
    lacking = log_one_plus_sum(-alpha * (similarity - base), positive) / alpha
    excess = log_one_plus_sum(beta * (similarity - base), negative) / beta
    return (lacking + excess).mean()


def log_one_plus_sum(exponents: Tensor, keep: Tensor) -> Tensor:
    """Rows of ``log(1 + sum_j exp(x_ij))`` over the kept j, without overflow.

    Args:
        exponents: (Q, N) float.
        keep: (Q, N) bool.

    Returns:
        (Q,) values >= 0; where nothing is kept 0, with gradient 0.
    """
    # The 1 is a column of exponents 0, which also keeps a row from being empty.
    return pad(exponents.masked_fill(~keep, -torch.inf), (0, 1)).logsumexp(dim=1)
