"""Exact average precision of rankings by similarity, in blocks of queries.

A ranking is sorted as packed integers: twice the order of the score, plus a bit that says "relevant". Sorting them
moves no index, needs no gather, and shows ties between relevant and irrelevant items as neighbours that differ in that
bit alone. Everything after the sort touches relevant items only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xfeat.evaluation.exclusion import Excluded, leave_out
from xfeat.evaluation.relevance import Relevance
from xfeat.evaluation.similarity import Scores, Similarity, short_rows, unit_rows
from xfeat.evaluation.ties import (
    Certain,
    Cut,
    Denominator,
    TieGroups,
    expected_average_precision,
    expected_hits,
    segment_sums,
)

# Working bytes per score of a block at its worst (every item relevant or tied), float32 and float64: measured.
_BYTES_PER_SCORE = {torch.float32: 88, torch.float64: 104}


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
        memory: bytes that a block may take besides scaled copies of the inputs; at least one query is ranked at
            a time.

    Returns:
        Average precision and expected hits by query and cut, and the relevant items by query, on the device of the
        inputs.

    Example:
        >>> ap = average_precision(torch.eye(2), torch.eye(2), same_class(torch.arange(2), torch.arange(2)))
        >>> ap.values.flatten().tolist()
        [1.0, 1.0]
    """
    scaled = unit_rows if similarity == "cosine" else short_rows
    scores = Scores(scaled(queries, dtype), scaled(gallery, dtype))
    step = max(1, memory // (_BYTES_PER_SCORE[dtype] * len(gallery)))
    values, hits = torch.empty(2, len(queries), len(cuts), dtype=torch.float64, device=queries.device)
    relevant = torch.empty(len(queries), dtype=torch.int64, device=queries.device)
    for first in range(0, len(queries), step):
        rows = slice(first, min(first + step, len(queries)))
        block, truth = scores.block(rows), relevance(rows)
        if excluded is not None:
            truth = leave_out(block, truth, excluded(rows))
        if exclude_self:
            # Below every score, so ranked last, and cut off there.
            block.diagonal(first).fill_(-1.5)
        keys = (_float32_keys if dtype == torch.float32 else _float64_keys)(block, truth)
        del block, truth
        if exclude_self:
            keys = keys[:, :-1].contiguous()
        values[rows], hits[rows], relevant[rows] = _from_keys(keys, cuts, denominator)
    return AveragePrecision(values, relevant, hits)


def _float32_keys(scores: Tensor, relevant: Tensor) -> Tensor:
    """(q, N) int32, sorted: best score first, inside a tie irrelevant items first. Overwrites the scores."""
    # The bits of a float, negative ones mirrored, are integers in the order of the floats (and -0.0 is 0.0). Below 2.0
    # they stay below 2**30, so doubling a score's leaves the last bit for relevance without any rounding.
    bits = scores.view(torch.int32)
    sign = bits >> 31
    bits.bitwise_xor_(sign.bitwise_and(0x7FFFFFFF)).sub_(sign)
    return _sorted(bits.mul_(-2).add_(relevant))


def _float64_keys(scores: Tensor, relevant: Tensor) -> Tensor:
    """As `_float32_keys`, from scores that leave no bit free: twice the number of the tie group, plus relevance."""
    scores, order = scores.sort(dim=1, descending=True)
    group = torch.zeros(scores.shape, dtype=torch.int32, device=scores.device)
    torch.cumsum(scores[:, 1:] != scores[:, :-1], 1, dtype=torch.int32, out=group[:, 1:])
    return _sorted(group.mul_(2).add_(relevant.gather(1, order)))


def _from_keys(keys: Tensor, cuts: Sequence[Cut], denominator: Denominator) -> tuple[Tensor, Tensor, Tensor]:
    """Average precision and expected hits (q, cuts) and relevant items (q,) from sorted keys."""
    rows, width = keys.shape
    flat = _flat_nonzero(keys & 1)
    begin = torch.arange(rows + 1, device=keys.device) * width
    offsets = torch.searchsorted(flat, begin)
    relevant = offsets.diff()
    place = flat - torch.repeat_interleave(begin[:-1], relevant)
    hit = torch.arange(1, len(flat) + 1, device=keys.device).sub_(torch.repeat_interleave(offsets[:-1], relevant))
    precision = hit / (place + 1).double()

    groups, alone = _tie_groups(keys, flat, hit)
    values, hits = torch.empty(2, rows, len(cuts), dtype=torch.float64, device=keys.device)
    for column, cut in enumerate(cuts):
        counted = alone if cut is None else alone & (place < cut)
        certain = Certain(segment_sums(precision.where(counted, 0.0), offsets), segment_sums(counted.double(), offsets))
        values[:, column] = expected_average_precision(groups, certain, relevant, cut, denominator)
        hits[:, column] = expected_hits(groups, certain, cut)
    return values, hits, relevant


def _tie_groups(keys: Tensor, flat: Tensor, hit: Tensor) -> tuple[TieGroups, Tensor]:
    """The tie groups of mixed relevance, and which relevant items (bool, as ``flat``) are outside of them."""
    width = keys.shape[1]
    line = keys.view(-1)
    own, left = line.index_select(0, flat), line.index_select(0, (flat - 1).clamp_(min=0))
    # The first relevant item of a mixed group comes right after an irrelevant one of the same score.
    # (The end of the row above may look like one: that gives a group of relevant items alone, for which all holds.)
    leader = (own.bitwise_xor_(left) == 1).nonzero().view(-1)
    first, query = flat[leader], flat[leader] // width
    score = line[first] & ~1
    start = _bisect(line, query * width, first, score)
    end = _bisect(line, first, (query + 1) * width, score + 2)
    relevant = end - first
    alone = torch.ones(flat.shape, dtype=torch.bool, device=keys.device)
    ends = relevant.cumsum(0)
    members = torch.repeat_interleave(leader - ends + relevant, relevant)
    alone[members + torch.arange(len(members), device=keys.device)] = False
    return TieGroups(query, start - query * width, end - start, relevant, hit[leader] - 1, width), alone


def _bisect(line: Tensor, low: Tensor, high: Tensor, key: Tensor) -> Tensor:
    """First place in ``line[low:high]``, ascending there, whose value is at least the key; ``high`` where none is."""
    for _ in range(len(line).bit_length()):
        middle = (low + high) // 2
        # Where low == high the search is over; the place may be one past the end.
        less = (line[middle.clamp(max=len(line) - 1)] < key) & (low < high)
        low, high = torch.where(less, middle + 1, low), torch.where(less, high, middle)
    return low


# NumPy sorts values and lists non-zeros several times faster than torch on a CPU.
def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type != "cpu":
        return keys.sort(dim=1).values
    keys.numpy().sort(axis=1)
    return keys


def _flat_nonzero(table: Tensor) -> Tensor:
    if table.device.type != "cpu":
        return table.view(-1).nonzero().view(-1)
    return torch.from_numpy(np.flatnonzero(table.numpy()))
