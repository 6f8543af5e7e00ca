"""Where the first relevant item of a ranking stands, exactly, when scores tie.

Only the tie group of the best relevant score matters. With G irrelevant items strictly above it, and n items in it of
which r are relevant, a uniformly random order of the group puts the first relevant item at an expected rank of

    G + (n + 1) / (r + 1),

and leaves its first m = K - G places without a relevant item with the hypergeometric probability

    C(n - r, m) / C(n, m) = product over i < m of (n - r - i) / (n - i).

For r = 1 the expected rank is the average rank of the tie (as of competition ranking "1 2.5 2.5 4").
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xfeat.evaluation.exclusion import Excluded, leave_out
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Scores, Similarity, short_rows, unit_rows

# Working bytes per score of a block, float32 and float64: measured, with equal gallery rows and keys of 8 bytes.
_BYTES_PER_SCORE = {torch.float32: 12, torch.float64: 20}
_BYTES_EXCLUDED = 3  # more, with items left out


@dataclass(frozen=True, eq=False)
class FirstHit:
    """The tie group of the best relevant item, by query.

    Each field is (Q,) int64. ``above``: irrelevant items with a higher score; ``tied``: items of the best relevant
    score; ``hits``: relevant ones among them; ``relevant``: relevant items in the whole gallery. Where there are none,
    all are 0.
    """

    above: Tensor
    tied: Tensor
    hits: Tensor
    relevant: Tensor

    def __getitem__(self, which: Tensor) -> "FirstHit":
        return FirstHit(self.above[which], self.tied[which], self.hits[which], self.relevant[which])

    def rank(self) -> Tensor:
        """Expected rank of the first relevant item, (Q,) float64, from 1."""
        return self.above + (self.tied + 1).double() / (self.hits + 1)

    def within(self, cut: int) -> Tensor:
        """Probability that a relevant item is among the first ``cut``, (Q,) float64; 0 without a relevant item."""
        places = (cut - self.above).clamp(min=0)
        missed = torch.ones(self.above.shape, dtype=torch.float64, device=self.above.device)
        for place in range(cut):
            irrelevant = (self.tied - self.hits - place).clamp(min=0)
            missed *= torch.where(place < places, irrelevant / (self.tied - place).clamp(min=1).double(), 1.0)
        return torch.where(self.hits > 0, 1 - missed, 0.0)


def chance(relevant: Tensor, gallery: int | Tensor) -> FirstHit:
    """A random ranking: the whole gallery as one tie group.

    Args:
        relevant: (Q,) int64, relevant items of each query.
        gallery: number of ranked items, >= 1, of all queries or (Q,) int64 of each.
    """
    some = (relevant > 0).long()
    return FirstHit(torch.zeros_like(relevant), gallery * some, relevant, relevant)


def first_hits(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    *,
    excluded: Excluded | None = None,
    similarity: Similarity = "cosine",
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
) -> FirstHit:
    """Rank the gallery by similarity for each query, up to its first relevant item.

    Args:
        queries: (Q, d) finite embeddings of any length; zero rows score 0 with everything.
        gallery: (N, d) finite embeddings on the same device, N >= 1.
        relevance: which gallery items are relevant, on the same device.
        excluded: which gallery items are left out, relevant or not, on the same device; None: none.
        similarity: ``cosine``, or ``inner product``.
        dtype: of the scores, torch.float32 or torch.float64.
        memory: bytes that a block may take besides scaled copies of the inputs; at least one query is ranked at
            a time.

    Example:
        >>> hit = first_hits(torch.eye(2), torch.eye(2), same_class(torch.arange(2), torch.arange(2)))
        >>> hit.rank().tolist()
        [1.0, 1.0]
    """
    counts = tie_counts(
        queries,
        gallery,
        relevance,
        last=False,
        excluded=excluded,
        similarity=similarity,
        dtype=dtype,
        memory=memory,
    )
    return FirstHit(*counts)


@torch.no_grad()
def tie_counts(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    *,
    last: bool,
    excluded: Excluded | None,
    similarity: Similarity,
    dtype: torch.dtype,
    memory: int,
) -> Tensor:
    """The tie group of the best relevant item, or with ``last`` of the worst; other arguments as of `first_hits`.

    Returns:
        (4, Q) int64: items with a higher score, items of that score, relevant ones among them, relevant items in the
        whole gallery; all 0 for a query without any.
    """
    scaled = unit_rows if similarity == "cosine" else short_rows
    scores = Scores(scaled(queries, dtype), scaled(gallery, dtype))
    cost = _BYTES_PER_SCORE[dtype] + (_BYTES_EXCLUDED if excluded else 0)
    step = max(1, memory // (cost * len(gallery)))
    counts = torch.empty(4, len(queries), dtype=torch.int64, device=queries.device)
    for first in range(0, len(queries), step):
        rows = slice(first, min(first + step, len(queries)))
        block, truth = scores.block(rows), relevance(rows)
        if excluded is not None:
            truth = leave_out(block, truth, excluded(rows))
        if last:
            edge = block.masked_fill(~truth, torch.inf).amin(1, keepdim=True)
        else:
            edge = block.masked_fill(~truth, -torch.inf).amax(1, keepdim=True)
        tied = block == edge
        counts[0, rows] = _count(block > edge)
        counts[1, rows] = _count(tied)
        counts[2, rows] = _count(tied.logical_and_(truth))
        counts[3, rows] = _count(truth)
    # Against a best score of -inf, everything is above.
    counts[0] = counts[0].where(counts[3] > 0, 0)
    return counts


# torch widens booleans to int64 before it sums them on a CPU, eight times their memory.
def _count(table: Tensor) -> Tensor:
    if table.device.type != "cpu":
        return table.sum(1)
    return torch.from_numpy(np.count_nonzero(table.numpy(), axis=1).astype(np.int64))
