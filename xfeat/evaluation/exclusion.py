"""Gallery items that are left out of a query's ranking: they neither help nor hurt."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Excluded: TypeAlias = Callable[[slice], Tensor]
"""Takes a slice of q queries, gives a (q, N) bool tensor: True where the gallery item is left out for the query."""

BELOW = -1.5
"""The score of an item that is left out; every other is in [-1, 1] up to rounding."""


def leave_out(scores: Tensor, truth: Tensor, out: Tensor) -> Tensor:
    """Put excluded items below every score, where no rank of another item depends on them.

    Args:
        scores: (q, N), in [-1, 1] up to rounding; changed.
        truth: (q, N) bool, True where the item is relevant.
        out: (q, N) bool, True where the item is left out.

    Returns:
        ``truth`` without the excluded items, which are relevant to nobody.
    """
    scores.masked_fill_(out, BELOW)
    return truth > out


def leave_out_self(scores: Tensor, truth: Tensor, first: int) -> Tensor:
    """As `leave_out`, of the gallery item of the same number as the query, the first of which is ``first``."""
    scores.diagonal(first).fill_(BELOW)
    truth = truth.clone()
    truth.diagonal(first).fill_(False)
    return truth


def same_identity_and_camera(
    identities: Tensor, cameras: Tensor, gallery_identities: Tensor, gallery_cameras: Tensor
) -> Excluded:
    """Leave out the query's own identity as its own camera saw it (Zheng et al., ICCV 2015, "junk").

    Args:
        identities: (Q,) int64.
        cameras: (Q,) int64, negative where there is none: nothing is left out for such a query.
        gallery_identities: (N,) int64.
        gallery_cameras: (N,) int64.
    """

    def excluded(rows: slice) -> Tensor:
        own = cameras[rows, None]
        same = (own == gallery_cameras).logical_and_(own >= 0)
        return same.logical_and_(identities[rows, None] == gallery_identities)

    return excluded


def excluded_counts(identities: Tensor, cameras: Tensor, gallery_identities: Tensor, gallery_cameras: Tensor) -> Tensor:
    """How many items `same_identity_and_camera` leaves out, (Q,) int64."""
    rows = torch.stack([torch.cat([identities, gallery_identities]), torch.cat([cameras, gallery_cameras])], 1)
    codes = rows.unique(dim=0, return_inverse=True)[1]
    own, there = codes[: len(identities)], codes[len(identities) :].sort().values
    counts = torch.searchsorted(there, own, right=True) - torch.searchsorted(there, own)
    return counts.where(cameras >= 0, 0)
