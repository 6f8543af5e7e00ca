"""Where chosen items of a ranking stand: the tie group of each, without a sort that moves indices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xfeat.evaluation.parts import by_parts


@dataclass(frozen=True, eq=False)
class Standing:
    """The tie groups of the chosen items, by query, padded to the most that a query has.

    ``start`` and ``end`` are (q, M) int64: the items with a higher score, and those with a score as high or higher, so
    that a uniformly random order of ties puts the item on each of the ranks start + 1, ..., end alike. ``flat`` is
    (n,) int64, where the chosen items stand in the flattened block, by row; ``place`` is (n,) int64, where they stand
    in the flattened (q, M). ``count`` is (q,) int64, how many a query has; a place beyond has ``end`` 0.
    Where order was not asked for, ``place`` holds together with ``flat`` for whole queries alone.
    """

    start: Tensor
    end: Tensor
    flat: Tensor
    place: Tensor
    count: Tensor


def standing(block: Tensor, chosen: Tensor, most: int | None = None, *, in_order: bool = True) -> Standing:
    """Find the tie groups of the chosen items.

    Args:
        block: (q, N) scores; unchanged.
        chosen: (q, N) bool.
        most: ranks that are of interest; None: all. An item whose whole tie group lies beyond them is left out.
        in_order: keep a query's items in the order of the block; in the order of their scores they are found faster.
    """
    rows, width = block.shape
    places = width if most is None else min(most, width)
    ordered = _ascending(block, places)
    if places < width:
        edge = ordered[:, :1]
        chosen = chosen & (block >= edge)
    flat = chosen.view(-1).nonzero().view(-1)
    offsets = torch.searchsorted(flat, torch.arange(rows + 1, device=block.device) * width)
    count = offsets.diff()
    columns = int(count.max()) if rows else 0
    own = torch.arange(len(flat), device=block.device) - torch.repeat_interleave(offsets[:-1], count)
    place = torch.repeat_interleave(torch.arange(rows, device=block.device) * columns, count) + own
    scores = torch.full((rows, columns), torch.inf, dtype=block.dtype, device=block.device)
    scores.view(-1)[place] = block.view(-1)[flat]
    if not in_order and columns:
        scores = _ascending(scores, columns)
    start = places - torch.searchsorted(ordered, scores, right=True)
    end = places - torch.searchsorted(ordered, scores)
    if places < width:
        # The group that the last rank is in goes on behind it.
        behind = (block == edge).sum(1, keepdim=True) - (ordered == edge).sum(1, keepdim=True)
        end += behind * (scores == edge)
    return Standing(start, end, flat, place, count)


def _ascending(block: Tensor, places: int) -> Tensor:
    """The greatest values of each row, (q, places), ascending."""
    if places < block.shape[1]:
        return block.topk(places, dim=1).values.flip(1).contiguous()
    if block.device.type != "cpu":
        return block.sort(dim=1).values
    ordered = block.clone()
    numbers = ordered.numpy()  # whose sort is several times faster than torch's on a CPU
    by_parts(lambda part: numbers[part].sort(axis=1), *numbers.shape)
    return ordered
