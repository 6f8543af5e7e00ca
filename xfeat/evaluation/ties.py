"""Average precision when scores tie: the expected value under a uniformly random order of the tied items, exactly.

McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores",
ECIR 2008. A tie group of n items, r of them relevant, that starts after s items of which b are relevant, adds to the
sum of precisions over its first m places

    r/n * [ (b + 1) * A + (r - 1)/(n - 1) * B ],    A = sum_{j=1..m} 1/(s + j),    B = sum_{j=1..m} (j - 1)/(s + j).

With the denominator "hits" the number of hits inside the cut is itself random when the cut falls inside a group: that
group is conditioned on the hypergeometric number h of relevant items it places inside (then the m places hold h
relevant items in random order: the formula above with n = m and r = h). Groups before the cut are complete, so nothing
else is random.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Cut: TypeAlias = int | None
Denominator: TypeAlias = Literal["hits", "min"]

# Cells of the (query, hits) table worked on at once; a cell costs about 100 bytes over the temporaries.
_TABLE_CELLS = 1 << 20


@dataclass(frozen=True, eq=False)
class TieGroups:
    """Runs of equally scored items of mixed relevance, by query and, inside a query, by rank.

    Each field is (G,) int64. ``query`` in [0, Q), ascending; ``start``: items ranked before the group; ``size``: items
    in it; ``relevant``: relevant items in it; ``before``: relevant items ranked before it. ``gallery`` is the number
    of ranked items.
    """

    query: Tensor
    start: Tensor
    size: Tensor
    relevant: Tensor
    before: Tensor
    gallery: int


@dataclass(frozen=True, eq=False)
class Certain:
    """What relevant items outside the tie groups add within a cut.

    Each field is (Q,) float64. ``sums``: the sum of precisions at them; ``hits``: how many they are; ``discounted``:
    the sum of 1/log2(rank + 1).
    """

    sums: Tensor
    hits: Tensor
    discounted: Tensor


def segment_sums(values: Tensor, offsets: Tensor) -> Tensor:
    """Sums of ``values[offsets[i]:offsets[i + 1]]``, in the same order on every run.

    Args:
        values: (V,) floating point.
        offsets: (S + 1,) int64, ascending, from 0 to V.

    Returns:
        (S,) of the dtype of ``values``; 0 for an empty segment.
    """
    return torch.segment_reduce(values, "sum", offsets=offsets, initial=0.0)


def expected_average_precision(
    groups: TieGroups, certain: Certain, relevant: Tensor, cut: Cut, denominator: Denominator
) -> Tensor:
    """Expected average precision of each query over random orders of its tied items.

    Exact up to float64 rounding (within 1e-9 for galleries of 100,000).

    Args:
        groups: the tie groups of Q queries.
        certain: the share of all other relevant items, within the cut.
        relevant: (Q,) int64, the relevant items of each query in the whole gallery.
        cut: ranks that count; None for all of them.
        denominator: what the sum of precisions is divided by at a cut: ``"hits"``, the relevant items found within the
            cut (no hit gives 0), or ``"min"``, min(cut, relevant). Without a cut both are the number of relevant items.

    Returns:
        (Q,) float64 in [0, 1]; NaN for a query without relevant items.
    """
    harmonic = _harmonic_numbers(groups.gallery, relevant.device)
    bounds, inside = _bounds(groups, len(relevant)), _inside(groups, cut)
    tied = _expected_sum(groups.relevant, groups.size, inside, groups.start, groups.before, harmonic)
    if cut is None or denominator == "min":
        most = relevant if cut is None else relevant.clamp(max=cut)
        return (certain.sums + segment_sums(tied, bounds)) / most.double().where(relevant > 0, torch.nan)

    complete = inside == groups.size
    sums = certain.sums + segment_sums(tied.where(complete, 0.0), bounds)
    hits = certain.hits + segment_sums(groups.relevant.where(complete, 0).double(), bounds)
    result = sums / hits.clamp(min=1)
    split = (~complete & (inside > 0)).nonzero().flatten()
    step = max(1, _TABLE_CELLS // (cut + 1))
    for at in (split[i : i + step] for i in range(0, len(split), step)):
        query = groups.query[at]
        result[query] = _expected_at_split(groups, at, inside[at], sums[query], harmonic)
    return result.where(relevant > 0, torch.nan)


def expected_hits(groups: TieGroups, certain: Certain, cut: Cut) -> Tensor:
    """Expected number of relevant items within a cut, (Q,) float64; divided by the cut it is the precision there.

    A tie group of n items, r of them relevant, with m places within the cut, adds r * m/n.

    Args:
        groups: the tie groups of Q queries.
        certain: the share of all other relevant items, within the cut.
        cut: ranks that count; None for all of them.
    """
    share = groups.relevant * _inside(groups, cut) / groups.size.clamp(min=1).double()
    return certain.hits + segment_sums(share, _bounds(groups, len(certain.hits)))


def expected_discounted(groups: TieGroups, certain: Certain, cut: Cut, discounts: Tensor) -> Tensor:
    """Expected sum of discounts at the relevant items within a cut, (Q,) float64: gain where each is worth 1.

    A tie group of n items, r of them relevant, adds r/n of the discounts of its places within the cut.

    Args:
        groups: the tie groups of Q queries.
        certain: the share of all other relevant items, within the cut.
        cut: ranks that count; None for all of them.
        discounts: (gallery + 1,) float64, sums of the discounts of the first 0, 1, ... ranks.
    """
    within = discounts[groups.start + _inside(groups, cut)] - discounts[groups.start]
    share = groups.relevant / groups.size.clamp(min=1).double()
    return certain.discounted + segment_sums(share * within, _bounds(groups, len(certain.hits)))


def chance_average_precision(relevant: Tensor, gallery: int | Tensor, cut: Cut, denominator: Denominator) -> Tensor:
    """Expected average precision of a random ranking: the tie formula with the whole gallery in one group.

    Args:
        relevant: (Q,) int64, relevant items of each query.
        gallery: number of ranked items, >= 1, of all queries or (Q,) int64 of each.
        cut: ranks that count; None for all of them.
        denominator: see `expected_average_precision`.

    Returns:
        (Q,) float64 in [0, 1]; NaN for a query without relevant items.
    """
    both = torch.stack([relevant, torch.zeros_like(relevant) + gallery], 1)
    rows, inverse = both.unique(dim=0, return_inverse=True)
    counts, sizes = rows.unbind(1)
    zero, largest = torch.zeros_like(counts), int(sizes.max()) if len(sizes) else 0
    groups = TieGroups(torch.arange(len(counts), device=counts.device), zero, sizes, counts, zero, largest)
    certain = Certain(*[zero.double()] * 3)
    return expected_average_precision(groups, certain, counts, cut, denominator)[inverse]


def _bounds(groups: TieGroups, queries: int) -> Tensor:
    """(Q + 1,) where the groups of each query begin."""
    return torch.searchsorted(groups.query, torch.arange(queries + 1, device=groups.query.device))


def _inside(groups: TieGroups, cut: Cut) -> Tensor:
    """(G,) places of each group within the cut."""
    return groups.size if cut is None else (cut - groups.start).clamp(min=0).minimum(groups.size)


@lru_cache(maxsize=4)
def _harmonic_numbers(last: int, device: torch.device) -> Tensor:
    numbers = torch.zeros(last + 1, dtype=torch.float64)
    torch.cumsum(1 / torch.arange(1, last + 1, dtype=torch.float64), 0, out=numbers[1:])
    return numbers.to(device)


def _expected_sum(r: Tensor, n: Tensor, m: Tensor, s: Tensor, b: Tensor, harmonic: Tensor) -> Tensor:
    """Sum of precisions over the first m places of a group; the names are those at the top of the file."""
    a_sum = harmonic[s + m] - harmonic[s]
    b_sum = m - (s + 1) * a_sum
    # In double throughout: a quotient of two integer tensors would be float32.
    return r.double() / n.clamp(min=1) * ((b + 1) * a_sum + (r - 1).double() / (n - 1).clamp(min=1) * b_sum)


def _expected_at_split(groups: TieGroups, at: Tensor, m: Tensor, sums: Tensor, harmonic: Tensor) -> Tensor:
    """Average precision of queries whose cut falls inside the group ``at``, m places of it within the cut."""
    n, r, s, b = (x[at, None] for x in (groups.size, groups.relevant, groups.start, groups.before))
    m = m[:, None]
    low, high = (m - (n - r)).clamp(min=0), m.minimum(r)
    steps = torch.arange(int((high - low).max()) + 1, device=at.device)
    h = low + steps
    # P(h) from the ratios P(h)/P(h - 1), summed as logs: stable where factorials overflow.
    last = h - 1
    up, down = (r - last) * (m - last), h * (n - r - m + h)
    log_ratio = up.clamp(min=0).double().log() - down.clamp(min=1).double().log()
    log_ratio[:, 0] = 0.0
    log_ratio = log_ratio.where(h <= high, -torch.inf)
    # Running sums of floats on a GPU may differ from run to run; the table is small.
    probability = log_ratio.cpu().cumsum(1).softmax(1).to(at.device)
    value = (sums[:, None] + _expected_sum(h, m, m, s, b, harmonic)) / (b + h).clamp(min=1)
    return (probability * value).sum(1)
