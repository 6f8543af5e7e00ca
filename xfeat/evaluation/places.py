"""Where the relevant items of rankings stand, and which of them tie with irrelevant ones.

A ranking is sorted as packed integers: twice the order of the score, plus a bit that says "relevant". Sorting them
moves no index, needs no gather, and shows ties between relevant and irrelevant items as neighbours that differ in that
bit alone. What is done after the sort touches relevant and tied items only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.evaluation.discounts import cumulated_discounts
from xfeat.evaluation.parts import by_parts
from xfeat.evaluation.sorting import sort_rows, sortable_width
from xfeat.evaluation.ties import Certain, Cut, TieGroups, segment_sums

_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass(frozen=True, eq=False)
class Places:
    """Rankings of a block of q queries: what a measure of precision needs of them.

    ``groups`` are the tie groups of mixed relevance; ``certain`` is what relevant items outside of them add, by cut;
    ``relevant`` is (q,) int64, the relevant items of each query.
    """

    groups: TieGroups
    certain: list[Certain]
    relevant: Tensor


def find_places(block: Tensor, truth: Tensor, cuts: Sequence[Cut]) -> Places:
    """Rank a block. On the CPU in parts, by NumPy; elsewhere as a whole, by torch. The block is overwritten.

    Args:
        block: (q, N) contiguous scores above -2 and below 2, float32 or float64.
        truth: (q, N) bool, True where the item is relevant.
        cuts: ranks that count.
    """
    if block.device.type != "cpu":
        return places_of_keys(pack(block, truth).sort(dim=1).values, cuts)
    scores, flags = block.numpy(), truth.numpy()
    rows, width = scores.shape
    discounts = cumulated_discounts(width, block.device).diff().numpy()

    def rank(part: slice) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        groups, certain, relevant = _rank(scores[part], flags[part], cuts, discounts)
        groups[0] += part.start
        return groups, certain, relevant

    parts = by_parts(rank, rows, width)
    groups, certain, relevant = (torch.from_numpy(np.concatenate(one, axis=-1)) for one in zip(*parts, strict=True))
    query, start, size, hits, before = groups.unbind()
    return Places(TieGroups(query, start, size, hits, before, width), [Certain(*one) for one in certain], relevant)


def pack(scores: Tensor, relevant: Tensor) -> Tensor:
    """(q, N) integers as wide as the scores, which order the best first, inside a tie irrelevant items first.

    The bits of a float, negative ones mirrored, are integers in the order of the floats (and -0.0 is 0.0). Those of
    floats below 2 leave the highest two bits free: one for the sign, one to make place for relevance, at no rounding.

    Args:
        scores: (q, N) contiguous, above -2 and below 2; overwritten.
        relevant: (q, N) bool.
    """
    bits = scores.view(_INTEGERS[scores.dtype])
    above = bits < 0
    bits.add_(bits)  # the sign bit drops out
    return torch.where(above, bits, -bits).add_(relevant)


def _packed(scores: NDArray[Any], relevant: NDArray[np.bool_]) -> NDArray[Any]:
    """As `pack`, in a table that `sort_rows` takes; the scores are overwritten."""
    bits = scores.view(np.int32 if scores.itemsize == 4 else np.int64)
    rows, width = bits.shape
    keys = np.empty((rows, sortable_width(width, bits.dtype)), bits.dtype)
    keys[:, width:] = np.iinfo(bits.dtype).max - 1  # after every score, and irrelevant
    own = keys[:, :width]
    np.invert(bits, out=own)
    own >>= 8 * bits.itemsize - 1  # -1 where the score is not negative
    bits += bits  # the sign bit drops out
    bits ^= own
    bits -= own
    np.add(bits, relevant, out=own)
    return keys


def _rank(
    scores: NDArray[Any], truth: NDArray[np.bool_], cuts: Sequence[Cut], discounts: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The fields of `TieGroups` (5, G), those of `Certain` by cut (cuts, 3, q), and relevant items (q,)."""
    rows, ranked = scores.shape
    keys = _packed(scores, truth)
    sort_rows(keys)
    width = keys.shape[1]
    bits = keys.astype(np.uint8)
    bits &= 1
    flat = np.flatnonzero(bits.view(bool))
    begin = np.arange(rows + 1) * width
    offsets = np.searchsorted(flat, begin)
    relevant = np.diff(offsets)
    hit = np.arange(1, len(flat) + 1) - np.repeat(offsets[:-1], relevant)
    place = flat - np.repeat(begin[:-1], relevant)
    counted = np.empty((3, len(flat)))  # as the fields of `Certain`
    np.divide(hit, place + 1, out=counted[0])
    counted[1], counted[2] = 1.0, discounts[place]

    first, end = _runs(keys, ranked) if _mixed(keys, flat, place) else np.empty((2, 0), np.int64)
    low, high = np.searchsorted(flat, first), np.searchsorted(flat, end)
    mixed = (high > low) & (high - low < end - first)
    first, end, low, high = first[mixed], end[mixed], low[mixed], high[mixed]
    members = np.repeat(high - np.cumsum(high - low), high - low) + np.arange((high - low).sum())
    counted[:, members] = 0.0
    query = first // width
    groups = np.stack([query, first - query * width, end - first, high - low, low - offsets[query]])

    certain = np.empty((len(cuts), 3, rows))
    for column, cut in enumerate(cuts):
        last = offsets[1:] if cut is None or cut >= ranked else np.searchsorted(flat, begin[:-1] + cut)
        certain[column] = [_range_sums(one, offsets[:-1], last) for one in counted]
    return groups, certain, relevant


def _mixed(keys: NDArray[Any], flat: NDArray[np.int64], place: NDArray[np.int64]) -> bool:
    """Whether a relevant item ties with an irrelevant one: then one comes right after one of its score."""
    line = keys.ravel()
    return bool(((line[flat] ^ line[flat - 1] == 1) & (place > 0)).any())


def _runs(keys: NDArray[Any], ranked: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First place and end, in the flat table, of the runs of two equal scores or more within the first ``ranked``."""
    differ = keys[:, 1:ranked] ^ keys[:, : ranked - 1]
    same = np.zeros(keys.shape, bool)
    np.less(differ.view(f"u{keys.itemsize}"), 2, out=same[:, : ranked - 1])
    tied = np.flatnonzero(same)  # with the item after it
    starts = np.ones(len(tied), bool)
    starts[1:] = np.diff(tied) != 1
    return tied[starts], tied[np.append(starts[1:], True)[: len(tied)]] + 2


def _range_sums(values: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of ``values[low[i]:high[i]]``, ascending ranges, which do not depend on the other ranges."""
    bounds = np.stack([low, high], 1).ravel()
    return np.where(high > low, np.add.reduceat(np.append(values, 0.0), bounds)[::2], 0.0)


def places_of_keys(keys: Tensor, cuts: Sequence[Cut]) -> Places:
    """As `find_places` of sorted keys (q, N), by torch on any device, whose host waits for it a few times alone."""
    rows, width = keys.shape
    flat = (keys & 1).view(-1).nonzero().view(-1)
    begin = torch.arange(rows + 1, device=keys.device) * width
    offsets = torch.searchsorted(flat, begin)
    relevant = offsets.diff()
    own = flat // width
    place = flat - own * width
    hit = torch.arange(1, len(flat) + 1, device=keys.device) - offsets[own]
    precision = hit / (place + 1).double()

    same = torch.zeros(keys.shape, dtype=torch.bool, device=keys.device)
    torch.lt(keys[:, 1:] >> 1, (keys[:, :-1] >> 1) + 1, out=same[:, :-1])
    tied = same.view(-1).nonzero().view(-1)
    del same
    starts = torch.ones(len(tied) + 1, dtype=torch.bool, device=keys.device)
    starts[1:-1] = tied.diff() != 1
    first, end = tied[starts[:-1]], tied[starts[1:]] + 2
    low, high = torch.searchsorted(flat, first), torch.searchsorted(flat, end)
    mixed = (high > low) & (high - low < end - first)
    first, end, low, high = first[mixed], end[mixed], low[mixed], high[mixed]
    query = first // width
    groups = TieGroups(query, first - query * width, end - first, high - low, low - offsets[query], width)

    # +1 where a group's relevant items begin, -1 where they end: integers, whose running sums know no order.
    steps = torch.zeros(len(flat) + 1, dtype=torch.int64, device=keys.device)
    steps.index_add_(0, low, torch.ones_like(low)).index_add_(0, high, -torch.ones_like(high))
    alone = steps.cumsum(0)[:-1] == 0
    discounted = cumulated_discounts(width, keys.device).diff()[place]
    certain = []
    for cut in cuts:
        counted = alone if cut is None else alone & (place < cut)
        values = precision.where(counted, 0.0), counted.double(), discounted.where(counted, 0.0)
        certain.append(Certain(*(segment_sums(one, offsets) for one in values)))
    return Places(groups, certain, relevant)
