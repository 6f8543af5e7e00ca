"""Where the last relevant item of a ranking stands, exactly, when scores tie.

Only the tie group of the worst relevant score matters. With s items strictly above it, and n items in it of which r are
relevant, a uniformly random order of the group puts its last relevant item at place m of the group, r <= m <= n, with
probability

    P(m) = C(m - 1, r - 1) / C(n, r),    P(n) = r / n,    P(m - 1) / P(m) = (m - r) / (m - 1) <= 1,

so that the inverse of its rank is expected to be the sum over m of P(m) / (s + m). Working down from m = n nothing
overflows, and what vanishes is nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.evaluation.exclusion import Excluded
from xfeat.evaluation.first_hit import tie_counts
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Similarity

# Cells of the (group, place) table worked on at once; a cell costs about 40 bytes over the temporaries.
_TABLE_CELLS = 1 << 20


@dataclass(frozen=True, eq=False)
class LastHit:
    """The tie group of the worst relevant item, by query.

    Each field is (Q,) int64. ``above``: items with a higher score, relevant or not; ``tied``: items of the worst
    relevant score; ``hits``: relevant ones among them; ``relevant``: relevant items in the whole gallery. Where there
    are none, all are 0.
    """

    above: Tensor
    tied: Tensor
    hits: Tensor
    relevant: Tensor

    def __getitem__(self, which: Tensor) -> "LastHit":
        return LastHit(self.above[which], self.tied[which], self.hits[which], self.relevant[which])

    def inverse_negative_penalty(self) -> Tensor:
        """Expected number of relevant items over the rank of the last one, (Q,) float64 in (0, 1].

        Its mean is mINP (Ye et al., "Deep Learning for Person Re-Identification: A Survey and Outlook", TPAMI 2022).
        NaN for a query without relevant items.
        """
        expected = self.relevant * _expected_inverse_rank(self.above, self.tied, self.hits)
        return expected.where(self.relevant > 0, torch.nan)


def last_hits(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    *,
    excluded: Excluded | None = None,
    similarity: Similarity = "cosine",
    dtype: torch.dtype = torch.float32,
    memory: int = 256 << 20,
) -> LastHit:
    """Rank the gallery by similarity for each query, down to its last relevant item.

    Arguments are those of `xfeat.evaluation.first_hit.first_hits`.

    Example:
        >>> hit = last_hits(torch.eye(2), torch.eye(2), same_class(torch.zeros(2), torch.zeros(2)))
        >>> hit.inverse_negative_penalty().tolist()
        [1.0, 1.0]
    """
    counts = tie_counts(
        queries,
        gallery,
        relevance,
        last=True,
        excluded=excluded,
        similarity=similarity,
        dtype=dtype,
        memory=memory,
    )
    return LastHit(*counts)


def chance(relevant: Tensor, gallery: int | Tensor) -> LastHit:
    """A random ranking: the whole gallery as one tie group.

    Args:
        relevant: (Q,) int64, relevant items of each query.
        gallery: number of ranked items, >= 1, of all queries or (Q,) int64 of each.
    """
    some = (relevant > 0).long()
    return LastHit(torch.zeros_like(relevant), gallery * some, relevant, relevant)


def _expected_inverse_rank(above: Tensor, tied: Tensor, hits: Tensor) -> Tensor:
    """(Q,) float64; the names of the terms are those at the top of the file. 0 where nothing is tied."""
    # On the CPU: running products on a GPU may differ from run to run. Equal groups are worked out once.
    groups, inverse = torch.stack([above, tied, hits], 1).cpu().unique(dim=0, return_inverse=True)
    groups, back = _widest_first(groups)
    s, n, r = (column[:, None] for column in groups.unbind(1))
    found = torch.empty(len(groups), dtype=torch.float64)
    first = 0
    while first < len(groups):
        width = int(n[first] - r[first]) + 1
        rows = slice(first, first + max(1, _TABLE_CELLS // width))
        found[rows] = _sum_over_places(s[rows], n[rows], r[rows], width)
        first = rows.stop
    return found[back][inverse].to(above.device)


def _widest_first(groups: Tensor) -> tuple[Tensor, Tensor]:
    """The groups by falling number of irrelevant items, and where each of those given went."""
    order = (groups[:, 2] - groups[:, 1]).argsort(stable=True)
    return groups[order], order.argsort()


def _sum_over_places(s: Tensor, n: Tensor, r: Tensor, width: int) -> Tensor:
    """Sum of P(m) / (s + m) over m = n, n - 1, ... of groups (g, 1) with fewer than ``width`` irrelevant items."""
    place = n - torch.arange(width)
    ratio = (place + 1 - r).clamp(min=0) / place.clamp(min=1).double()
    ratio[:, :1] = r / n.clamp(min=1).double()
    return (ratio.cumprod_(1) / (s + place).clamp(min=1)).sum(1)
