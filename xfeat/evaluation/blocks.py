"""Scores of queries against a gallery, block by block: what every measure of a ranking is computed from.

Measures of one pair of modalities share a pass: each block's scores are computed once and handed to one kernel after
the other (`precision_of_block`, `tie_counts_of_block`, ...).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from xfeat.evaluation.exclusion import Excluded, leave_out, leave_out_self
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Scores, Similarity, short_rows, unit_rows

# More queries at a time make the matrix product no faster.
_MOST_ROWS = 1024
_BYTES_EXCLUDED = 3  # per score, with items left out


def score_blocks(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    *,
    similarity: Similarity,
    excluded: Excluded | None = None,
    exclude_self: bool = False,
    dtype: torch.dtype,
    bytes_per_score: int,
    memory: int,
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Scores of every query, a block of queries at a time.

    Args:
        queries: (Q, d) finite embeddings of any length; zero rows score 0 with everything.
        gallery: (N, d) finite embeddings on the same device, N >= 1.
        relevance: which gallery items are relevant, on the same device.
        similarity: ``cosine``, or ``inner product``.
        excluded: which gallery items are left out, relevant or not, on the same device; None: none.
        exclude_self: leave gallery item i out for query i (queries and gallery are the same set).
        dtype: of the scores, torch.float32 or torch.float64.
        bytes_per_score: what scores, truth, and all that the caller makes of them take at their worst; what is needed
            to leave items out is added.
        memory: bytes that a block may take besides scaled copies of the inputs; it has one query at least.

    Yields:
        The block's queries; their scores (q, N), contiguous, in [-1, 1] up to rounding and -1.5 for items left out,
        which the caller may overwrite; and (q, N) bool, True where an item is relevant and not left out, which it may
        not. The next block takes the memory of the scores.
    """
    scaled = unit_rows if similarity == "cosine" else short_rows
    with torch.no_grad():
        scores = Scores(scaled(queries, dtype), scaled(gallery, dtype))
    cost = bytes_per_score + (_BYTES_EXCLUDED if excluded is not None else 0)
    step = max(1, min(_MOST_ROWS, memory // (cost * len(gallery))))
    # Memory that is asked for anew is filled with zeros, page by page, before it can be written to.
    table = scores.table(min(step, len(queries)))
    for first in range(0, len(queries), step):
        rows = slice(first, min(first + step, len(queries)))
        yield rows, *_block(scores, relevance, rows, excluded, exclude_self, table)


def _block(
    scores: Scores, relevance: Relevance, rows: slice, excluded: Excluded | None, exclude_self: bool, table: Tensor
) -> tuple[Tensor, Tensor]:
    """Nothing is kept here while the caller works on it."""
    with torch.no_grad():
        block, truth = scores.block(rows, table), relevance(rows)
        if excluded is not None:
            truth = leave_out(block, truth, excluded(rows))
        if exclude_self:
            truth = leave_out_self(block, truth, rows.start)
        return block, truth
