"""The best of a ranking, in blocks of queries: no more of it is computed or kept than is asked for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.exclusion import BELOW, Excluded
from xfeat.evaluation.similarity import Similarity

# Working bytes per score of a block, float32 and float64.
_BYTES_PER_SCORE = {torch.float32: 16, torch.float64: 24}


@dataclass(frozen=True, eq=False)
class Top:
    """The first k places of every query's ranking.

    ``items`` is (Q, k) int64, places in the gallery, best first, equally scored items in the gallery's order; -1 where
    items that are left out leave a place empty. ``scores`` is (Q, k), cosines; of inner products, divided by
    the product of the longest query and the longest gallery item; -inf at an empty place.
    """

    items: Tensor
    scores: Tensor


@torch.no_grad()
def top_items(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    *,
    similarity: Similarity = "cosine",
    excluded: Excluded | None = None,
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
) -> Top:
    """The k most similar gallery items of each query; ties go to the item that comes first in the gallery.

    Args:
        queries: (Q, d) finite embeddings of any length; zero rows score 0 with everything.
        gallery: (N, d) finite embeddings on the same device, N >= 1.
        k: 1 or more; N where it is more than that.
        similarity: ``cosine``, or ``inner product``.
        excluded: which gallery items are left out, on the same device; None: none.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block may take besides scaled copies of the inputs; at least one query is ranked at
            a time.

    Returns:
        Items and scores on the device of the inputs.

    Raises:
        ValueError: k below 1.

    Example:
        >>> top_items(torch.eye(2), torch.eye(2), 1).items.tolist()
        [[0], [1]]
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}")
    k = min(k, len(gallery))
    items = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    values = torch.empty(len(queries), k, dtype=dtype, device=queries.device)
    irrelevant = torch.zeros(1, 1, dtype=torch.bool, device=queries.device).expand(len(queries), len(gallery))
    for rows, block, _ in score_blocks(
        queries,
        gallery,
        lambda rows: irrelevant[rows],
        similarity=similarity,
        excluded=excluded,
        dtype=dtype,
        bytes_per_score=_BYTES_PER_SCORE[dtype],
        memory=memory,
    ):
        items[rows], values[rows] = _best(block, k)
        del block
    empty = values < (BELOW - 1) / 2  # between what is left out and the least score
    return Top(items.masked_fill_(empty, -1), values.masked_fill_(empty, -torch.inf))


def _best(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Places and values (q, k) of the greatest of each row of (q, N), the first of equals first."""
    values, items = block.topk(k, dim=1)
    least = values[:, -1:]
    # topk takes any of the equals at its end: where there are more of them than it took, the first are looked up.
    cut = (block == least).sum(1) > (values == least).sum(1)
    for row in cut.nonzero().flatten().tolist():
        above = items[row, values[row] > least[row]]
        equal = (block[row] == least[row]).nonzero().flatten()[: k - len(above)]
        items[row] = torch.cat([above, equal])
    items, _ = items.sort(dim=1)
    values = block.gather(1, items)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values
