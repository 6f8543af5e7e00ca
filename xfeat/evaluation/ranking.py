"""Exact average precision of rankings by similarity, in blocks of queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.exclusion import Excluded
from xfeat.evaluation.places import Places, find_places
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Similarity
from xfeat.evaluation.ties import Cut, Denominator, expected_average_precision, expected_hits

# Working bytes per score of a block. On a CPU a block is its scores, its truth and copies of equal columns, and is
# worked on in small parts; elsewhere sorted keys, and places of every item should all be relevant or tied, add to it.
_BYTES_PER_SCORE = {torch.float32: 10, torch.float64: 18}
_BYTES_PER_SCORE_ON_DEVICE = {torch.float32: 96, torch.float64: 120}


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Average precision by query.

    ``values`` is (Q, number of cuts) float64, NaN for a query without relevant items; ``relevant`` is (Q,) int64, the
    relevant gallery items of each query; ``hits`` is (Q, number of cuts) float64, how many of them are expected within
    each cut.
    """

    values: Tensor
    relevant: Tensor
    hits: Tensor


@torch.no_grad()
def average_precision(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    cuts: Sequence[Cut] = (None,),
    denominator: Denominator = "hits",
    *,
    similarity: Similarity = "cosine",
    exclude_self: bool = False,
    excluded: Excluded | None = None,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
) -> AveragePrecision:
    """Average precision of each query's ranking of the gallery by similarity.

    Tied items of different relevance count with the expected value over random orders (see `xfeat.evaluation.ties`).

    Args:
        queries: (Q, d) finite embeddings of any length; zero rows score 0 with everything.
        gallery: (N, d) finite embeddings on the same device, N >= 1 (>= 2 with ``exclude_self``).
        relevance: which gallery items are relevant, on the same device.
        cuts: each an int >= 1, or None for the whole gallery.
        denominator: of average precision at a cut, see `expected_average_precision`.
        similarity: ``cosine``, or ``inner product``.
        exclude_self: leave gallery item i out of the ranking of query i (queries and gallery are the same set).
        excluded: which gallery items are left out, relevant or not, on the same device; None: none.
        dtype: of the scores, torch.float32 or torch.float64; precisions are summed in float64 either way.
        memory: bytes that a block may take besides scaled copies of the inputs and a CPU's threads, which work on some
            50 MB each, or one query; at least one query is ranked at a time.

    Returns:
        Average precision and expected hits by query and cut, and the relevant items by query, on the device of the
        inputs.

    Example:
        >>> ap = average_precision(torch.eye(2), torch.eye(2), same_class(torch.arange(2), torch.arange(2)))
        >>> ap.values.flatten().tolist()
        [1.0, 1.0]
    """
    values, hits = torch.empty(2, len(queries), len(cuts), dtype=torch.float64, device=queries.device)
    relevant = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
    for rows, block, truth in score_blocks(
        queries,
        gallery,
        relevance,
        similarity=similarity,
        excluded=excluded,
        exclude_self=exclude_self,
        dtype=dtype,
        bytes_per_score=bytes_per_score(dtype, queries.device),
        memory=memory,
    ):
        found = precision_of_block(block, truth, cuts, denominator)
        values[rows], hits[rows], relevant[rows] = found.values, found.hits, found.relevant
        del block, truth
    return AveragePrecision(values, relevant, hits)


def precision_of_block(block: Tensor, truth: Tensor, cuts: Sequence[Cut], denominator: Denominator) -> AveragePrecision:
    """Average precision of a block of scores, see `xfeat.evaluation.blocks.score_blocks`.

    Args:
        block: (q, N) contiguous, best highest, in [-1, 1] up to rounding, -1.5 for items left out. It is
            overwritten: what else needs the scores comes first.
        truth: (q, N) bool, True where an item is relevant and not left out.
        cuts: each an int >= 1, or None for the whole gallery.
        denominator: of average precision at a cut, see `expected_average_precision`.
    """
    return precision_of_places(find_places(block, truth, cuts), cuts, denominator)


def precision_of_places(found: Places, cuts: Sequence[Cut], denominator: Denominator) -> AveragePrecision:
    """Average precision of rankings whose places are known, at the cuts that these were found for."""
    values, hits = torch.empty(2, len(found.relevant), len(cuts), dtype=torch.float64, device=found.relevant.device)
    for column, (cut, certain) in enumerate(zip(cuts, found.certain, strict=True)):
        values[:, column] = expected_average_precision(found.groups, certain, found.relevant, cut, denominator)
        hits[:, column] = expected_hits(found.groups, certain, cut)
    return AveragePrecision(values, found.relevant, hits)


def bytes_per_score(dtype: torch.dtype, device: torch.device) -> int:
    """Working bytes of `precision_of_block` per score of a block, the block with them, at their worst."""
    return (_BYTES_PER_SCORE if device.type == "cpu" else _BYTES_PER_SCORE_ON_DEVICE)[dtype]
