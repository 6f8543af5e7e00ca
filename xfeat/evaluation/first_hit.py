"""Where the first relevant item of a ranking stands, exactly, when scores tie.

Only the tie group of the best relevant score matters. With G irrelevant items strictly above it, and n items in it of
which r are relevant, a uniformly random order of the group puts the first relevant item at an expected rank of

    G + (n + 1) / (r + 1),

and leaves its first m = K - G places without a relevant item with the hypergeometric probability

    C(n - r, m) / C(n, m) = product over i < m of (n - r - i) / (n - i).

For r = 1 the expected rank is the average rank of the tie (as of competition ranking "1 2.5 2.5 4").
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.evaluation.blocks import score_blocks
from xfeat.evaluation.exclusion import Excluded
from xfeat.evaluation.parts import by_parts
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Similarity

# Working bytes per score of a block, float32 and float64: with equal gallery rows.
BYTES_PER_SCORE = {torch.float32: 12, torch.float64: 20}
_WIDE = 256  # columns from which on a call for each row costs less than NumPy's sums of booleans


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
        # Behind so many irrelevant ones, a relevant item is certain.
        most = int((self.tied - self.hits).max()) + 1 if len(self.tied) else 0
        for place in range(min(cut, most)):
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
    counts = torch.empty(4, len(queries), dtype=torch.int64, device=queries.device)
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
        counts[:, rows] = tie_counts_of_block(block, truth, last)
        del block, truth
    return counts


def tie_counts_of_block(block: Tensor, truth: Tensor, last: bool) -> Tensor:
    """As `tie_counts`, of a block of scores (see `xfeat.evaluation.blocks.score_blocks`), which is not changed.

    Args:
        block: (q, N) contiguous.
        truth: (q, N) bool, True where an item is relevant and not left out.
        last: the tie group of the worst relevant item instead of the best.

    Returns:
        (4, q) int64.
    """
    if block.device.type == "cpu":
        scores, flags = block.numpy(), truth.numpy()
        parts = by_parts(lambda part: _tie_counts(scores[part], flags[part], last), *scores.shape)
        return torch.from_numpy(np.concatenate(parts, axis=1))
    if last:
        edge = block.where(truth, torch.inf).amin(1, keepdim=True)
    else:
        edge = block.where(truth, -torch.inf).amax(1, keepdim=True)
    relevant = truth.sum(1)
    edge = edge.where(relevant[:, None] > 0, torch.inf)  # nothing is there or above
    tied = block == edge
    return torch.stack([(block > edge).sum(1), tied.sum(1), (tied & truth).sum(1), relevant])


def _tie_counts(scores: NDArray[Any], truth: NDArray[np.bool_], last: bool) -> NDArray[np.int64]:
    rows, width = scores.shape
    flat = np.flatnonzero(truth)
    bounds = np.searchsorted(flat, np.arange(rows + 1) * width)
    relevant, starts = np.diff(bounds), bounds[:-1]
    some = relevant > 0
    edge = np.full(rows, np.inf, scores.dtype)  # nothing is there or above
    hits = np.zeros(rows, np.int64)
    if len(flat):
        values = scores.reshape(-1)[flat]
        edge[some] = (np.minimum if last else np.maximum).reduceat(values, starts[some])
        equal = values == np.repeat(edge, relevant)
        hits[some] = np.add.reduceat(equal, starts[some], dtype=np.int64)
    column = edge[:, None]
    return np.stack([_counts(scores > column), _counts(scores == column), hits, relevant])


def _counts(table: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each row are True."""
    if table.shape[1] < _WIDE:
        return np.asarray(table.sum(1, dtype=np.int64))
    return np.array([np.count_nonzero(row) for row in table], np.int64)
