"""Which pairs a loss between samples looks at: across or within modalities, and of these the informative ones.

Mining is the first of the two steps of the multi-similarity loss: Wang et al., "Multi-Similarity Loss with General Pair
Weighting for Deep Metric Learning", CVPR 2019. CIIM (TPAMI 2024) names neither step; both are chosen here.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PairMasks(NamedTuple):
    """Pairs of rows of a batch, (N, N) bool each and symmetric; together they are every pair of two different rows.

    Attributes:
        cross_positive: two modalities, one class.
        cross_negative: two modalities, two classes.
        within_positive: one modality, one class; never a row with itself.
        within_negative: one modality, two classes.
    """

    cross_positive: Tensor
    cross_negative: Tensor
    within_positive: Tensor
    within_negative: Tensor


def split_pairs(labels: Tensor, modality: Tensor) -> PairMasks:
    """All pairs of a batch by class and modality.

    Args:
        labels: (N,) int64.
        modality: (N,) int64.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if labels.ndim != 1 or labels.shape != modality.shape:
        shapes = f"{tuple(labels.shape)}, {tuple(modality.shape)}"
        raise ValueError(f"labels (N,) and modality (N,) do not fit together: {shapes}")
    same = labels[:, None] == labels
    within = modality[:, None] == modality
    return PairMasks(
        cross_positive=same & ~within,
        cross_negative=~same & ~within,
        within_positive=(same & within).fill_diagonal_(False),
        within_negative=~same & within,
    )


@torch.no_grad()
def mine_pairs(similarity: Tensor, positive: Tensor, negative: Tensor, epsilon: float = 0.1) -> tuple[Tensor, Tensor]:
    """Pairs that are in the wrong order for their anchor, or nearly so.

    A negative pair is kept where its similarity exceeds the least of a positive pair of the anchor, less epsilon; a
    positive pair where its own is below the greatest of a negative pair of the anchor, plus epsilon. An anchor without
    positive or without negative pairs keeps none of the other kind: there is no order to be wrong (the least of nothing
    is inf, the greatest -inf).

    Args:
        similarity: (Q, N) float, cosine of anchors (rows) and candidates, N >= 1.
        positive: (Q, N) bool, candidate pairs of one class.
        negative: (Q, N) bool, candidate pairs of two classes; disjoint from positive.
        epsilon: >= 0.

    Returns:
        Those of positive and those of negative that are kept, (Q, N) bool each.

    Raises:
        ValueError: a negative epsilon, or shapes that do not fit together.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be >= 0, got {epsilon}")
    if similarity.ndim != 2 or not similarity.shape[1] or not similarity.shape == positive.shape == negative.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (similarity, positive, negative))
        raise ValueError(f"similarity, positive and negative must have one shape (Q, N), N >= 1, got {shapes}")
    least = similarity.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    greatest = similarity.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
    return positive & (similarity < greatest + epsilon), negative & (similarity > least - epsilon)
