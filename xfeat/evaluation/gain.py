"""Discounted cumulative gain, exactly, when scores tie.

Järvelin and Kekäläinen, "Cumulated Gain-based Evaluation of IR Techniques", TOIS 2002, with the discount
1/log2(rank + 1) from the first rank on (Burges et al., ICML 2005; trec_eval). Under a uniformly random order of equally
scored items, an item whose tie group takes the ranks s + 1, ..., e is expected to add its gain times the mean discount
of these ranks, where those beyond the cut K have none (McSherry and Najork, ECIR 2008):

    gain / (e - s) * (D(min(e, K)) - D(min(s, K))),    D(n) = sum_{i=1..n} 1/log2(i + 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from xfeat.evaluation.discounts import cumulated_discounts
from xfeat.evaluation.places import Places
from xfeat.evaluation.standing import standing
from xfeat.evaluation.ties import Cut, expected_discounted, segment_sums

Gain: TypeAlias = Literal["exponential", "linear"]
GAINS = {"exponential": "2^g - 1, g classes shared", "linear": "g, classes shared"}
"""What sharing g classes is worth, to be printed with the numbers."""

# Working bytes per score of a block at its worst (every item of some gain), float32 and float64, gains not counted.
BYTES_PER_SCORE = {torch.float32: 96, torch.float64: 112}


@dataclass(frozen=True, eq=False)
class CumulatedGain:
    """Discounted cumulative gain of q queries at C cuts.

    ``expected`` and ``ideal`` are (q, C) float64: over random orders of ties, and of the best ranking there could be;
    ``total`` is (q,) float64, the gains of all items.
    """

    expected: Tensor
    ideal: Tensor
    total: Tensor

    def ndcg(self) -> Tensor:
        """(q, C) float64 in [0, 1]; NaN for a query without any gain."""
        return (self.expected / self.ideal).where(self.ideal > 0, torch.nan)

    def chance(self, gallery: int | Tensor, cuts: Sequence[Cut]) -> Tensor:
        """Expected nDCG of a random ranking, (q, C) float64; NaN for a query without any gain.

        Args:
            gallery: number of ranked items, >= 1, of all queries or (q,) int64 of each.
            cuts: those that the gain was cumulated to.
        """
        ranked = torch.zeros_like(self.total, dtype=torch.int64) + gallery
        longest = int(ranked.max()) if len(ranked) else 0
        discounts = cumulated_discounts(longest, self.total.device)
        places = torch.stack([ranked if cut is None else ranked.clamp(max=cut) for cut in cuts], 1)
        by_chance = (self.total / ranked)[:, None] * discounts[places]
        return (by_chance / self.ideal).where(self.ideal > 0, torch.nan)


def gain_of_block(block: Tensor, gains: Tensor, cuts: Sequence[Cut]) -> CumulatedGain:
    """Discounted cumulative gain of rankings; the whole ranking is sorted only where a cut is None.

    Args:
        block: (q, N) scores; unchanged.
        gains: (q, N), bool for gains of 0 and 1, or numbers of 0 or more. Items that are left out have none.
        cuts: each an int >= 1, or None for all ranks.
    """
    rows, width = block.shape
    most = None if None in cuts else max(cut for cut in cuts if cut is not None)
    discounts = cumulated_discounts(width, block.device)
    some = gains if gains.dtype == torch.bool else gains > 0
    stands = standing(block, some, most, in_order=some is not gains)
    start, end = (ranks.view(-1)[stands.place] for ranks in (stands.start, stands.end))
    worth = 1.0 if some is gains else gains.view(-1)[stands.flat].double()
    share = worth / (end - start).double()  # a quotient of integers would be float32
    offsets = torch.cat([stands.count.new_zeros(1), stands.count.cumsum(0)])
    expected = torch.empty(rows, len(cuts), dtype=torch.float64, device=block.device)
    for column, cut in enumerate(cuts):
        most = width if cut is None else min(cut, width)
        within = discounts[end.clamp(max=most)] - discounts[start.clamp(max=most)]
        expected[:, column] = segment_sums(share * within, offsets)
    total = _count(gains).double() if some is gains else gains.sum(1, dtype=torch.float64)
    return CumulatedGain(expected, _ideal(gains, total, cuts, discounts), total)


def gain_of_places(found: Places, cuts: Sequence[Cut]) -> CumulatedGain:
    """Discounted cumulative gain of rankings whose places are known, where each relevant item is worth 1.

    Args:
        found: of q queries.
        cuts: those that the places were found for.
    """
    width, total = found.groups.gallery, found.relevant
    discounts = cumulated_discounts(width, total.device)
    sums = [
        expected_discounted(found.groups, certain, cut, discounts)
        for cut, certain in zip(cuts, found.certain, strict=True)
    ]
    ideal = [discounts[total if cut is None else total.clamp(max=cut)] for cut in cuts]
    return CumulatedGain(torch.stack(sums, 1), torch.stack(ideal, 1), total.double())


def graded(shared: Tensor, gain: Gain) -> Tensor:
    """Gains of items by how many classes they share with the query, 2^g - 1 or g, of the shape and dtype of these."""
    return shared.exp2().round_().sub_(1) if gain == "exponential" else shared


def _ideal(gains: Tensor, total: Tensor, cuts: Sequence[Cut], discounts: Tensor) -> Tensor:
    width = gains.shape[1]
    places = [width if cut is None else min(cut, width) for cut in cuts]
    if gains.dtype == torch.bool:
        return torch.stack([discounts[total.long().clamp(max=most)] for most in places], 1)
    best = gains.topk(max(places), dim=1).values.double() * discounts.diff()[: max(places)]
    return torch.stack([best[:, :most].sum(1) for most in places], 1)


# torch widens booleans to int64 before it sums them on a CPU.
def _count(table: Tensor) -> Tensor:
    if table.device.type != "cpu":
        return table.sum(1)
    return torch.from_numpy(np.count_nonzero(table.numpy(), axis=1).astype(np.int64))
