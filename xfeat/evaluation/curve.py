"""Precision at standard levels of recall.

Interpolated precision at recall r is the highest precision at any threshold where recall is r or more (Manning,
Raghavan and Schütze, "Introduction to Information Retrieval", section 8.4). Tied items enter together: thresholds lie
between different scores, as those of sklearn.metrics.precision_recall_curve do, so no order of equal scores plays a
part. Embeddings that all collapsed have the share of relevant items at every level.
"""

import torch
from torch import Tensor

from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.exclusion import Excluded
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Similarity
from xfeat.evaluation.standing import standing

STANDARD_LEVELS = 11
"""Recall 0, 0.1, ..., 1, as trec_eval reports."""

# Working bytes per score of a block at its worst (every item relevant), float32 and float64.
BYTES_PER_SCORE = {torch.float32: 88, torch.float64: 104}


def precision_recall(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    *,
    similarity: Similarity = "cosine",
    levels: int = 101,
    excluded: Excluded | None = None,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
) -> Tensor:
    """Interpolated precision of each query's ranking, at evenly spaced levels of recall.

    Args:
        queries: (Q, d) finite embeddings of any length; zero rows score 0 with everything.
        gallery: (N, d) finite embeddings on the same device, N >= 1.
        relevance: which gallery items are relevant, on the same device.
        similarity: ``cosine``, or ``inner product``.
        levels: 2 or more; recall is 0, 1/(levels - 1), ..., 1. 101 draw a curve, `STANDARD_LEVELS` are reported.
        excluded: which gallery items are left out, on the same device; None: none.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block may take besides scaled copies of the inputs; at least one query is ranked at
            a time.

    Returns:
        (Q, levels) float64 in [0, 1], falling from left to right; NaN for a query without relevant items.

    Raises:
        ValueError: fewer than 2 levels.

    Example:
        >>> precision_recall(torch.eye(2), torch.eye(2), same_class(torch.arange(2), torch.arange(2)), levels=2)
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """
    if levels < 2:
        raise ValueError(f"levels must be 2 or more, got {levels}")
    precision = torch.empty(len(queries), levels, dtype=torch.float64, device=queries.device)
    for rows, block, truth in score_blocks(
        queries,
        gallery,
        relevance,
        similarity=similarity,
        excluded=excluded,
        dtype=dtype,
        bytes_per_score=BYTES_PER_SCORE[dtype],
        memory=memory,
    ):
        precision[rows] = precision_recall_of_block(block, truth, levels)
    return precision


def precision_recall_of_block(block: Tensor, truth: Tensor, levels: int) -> Tensor:
    """As `precision_recall`, of scores (q, N) and relevance (q, N) bool; neither is changed."""
    stands = standing(block, truth, in_order=False)
    count = stands.count[:, None]
    if not stands.end.shape[1]:
        return torch.full((len(block), levels), torch.nan, dtype=torch.float64, device=block.device)
    # By rank, those that are not there last. At the end of a tie group all of its relevant items are found.
    beyond = torch.arange(stands.end.shape[1], device=block.device) >= count
    end = stands.end.masked_fill(beyond, block.shape[1] + 1).sort(dim=1).values
    found = torch.searchsorted(end, end, right=True)
    precision = (found / end.double()).masked_fill_(beyond, 0.0)
    highest = precision.flip(1).cummax(1).values.flip(1)
    # In whole numbers: the level i / (levels - 1) is reached with this many of the relevant items.
    level = torch.arange(levels, device=block.device)
    needed = (level * count + levels - 2) // (levels - 1)
    return highest.gather(1, (needed - 1).clamp(min=0)).where(count > 0, torch.nan)
