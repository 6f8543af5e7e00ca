"""Similarities, block by block, with equal scores for equal gallery rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Similarity: TypeAlias = Literal["cosine", "inner product"]

_ROWS_AT_ONCE = 8192


def unit_rows(vectors: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows scaled to Euclidean length 1; zero rows stay zero.

    Worked out in float64 after division by the row's largest entry, so that no finite row overflows or vanishes, and
    rows that differ by a factor round to the same unit row.

    Args:
        vectors: (N, d) finite numbers.
        dtype: of the result, float32 or float64.

    Returns:
        (N, d) contiguous.
    """
    units = torch.empty(vectors.shape, dtype=dtype, device=vectors.device)
    for source, target in zip(vectors.split(_ROWS_AT_ONCE), units.split(_ROWS_AT_ONCE), strict=True):
        rows = source.double()
        largest = rows.abs().amax(1, keepdim=True)
        rows = rows / largest.where(largest > 0, 1.0)
        rows /= rows.square().sum(1, keepdim=True).sqrt().clamp(min=1.0)  # a row that is not zero has length >= 1 here
        target.copy_(rows + 0.0)  # -0.0 becomes 0.0: equal rows are equal bytes
    return units


def short_rows(vectors: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """All rows scaled by one factor so that the longest has length 1: inner products keep their order.

    Args:
        vectors: (N, d) finite numbers.
        dtype: of the result, float32 or float64.

    Returns:
        (N, d) contiguous.
    """
    largest = vectors.abs().amax().double()
    scale = torch.where(largest > 0, largest, 1.0)
    longest = max((rows.double() / scale).square().sum(1).max() for rows in vectors.split(_ROWS_AT_ONCE))
    scale = scale * longest.sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    short = torch.empty(vectors.shape, dtype=dtype, device=vectors.device)
    for source, target in zip(vectors.split(_ROWS_AT_ONCE), short.split(_ROWS_AT_ONCE), strict=True):
        target.copy_(source.double() / scale + 0.0)
    return short


class Scores:
    """Scores of query rows against a gallery.

    A matrix product may round the same gallery row differently in different columns (kernels treat the edges of a
    matrix apart), which would break ties between equal embeddings by noise. So each distinct gallery row is scored
    once.

    Args:
        queries: (Q, d) rows of length 1 at most.
        gallery: (N, d) rows of length 1 at most, of the same dtype and on the same device.
    """

    def __init__(self, queries: Tensor, gallery: Tensor) -> None:
        self._queries = queries
        self._gallery, self._column = _distinct_rows(gallery)

    def block(self, rows: slice) -> Tensor:
        """(q, N) scores of these queries, in [-1, 1] up to rounding; a fresh tensor."""
        with full_precision(self._queries.device.type):
            scores = self._queries[rows] @ self._gallery.T
        return scores if self._column is None else scores.index_select(1, self._column)


def _distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """The distinct rows and, for every row, its place among them; (rows, None) where all are distinct."""
    array = np.ascontiguousarray(rows.cpu().numpy())
    as_bytes = array.view(f"V{array.itemsize * array.shape[1]}").ravel()
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, None
    return rows[torch.from_numpy(first).to(rows.device)], torch.from_numpy(inverse).to(rows.device)


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Keep TF32, bfloat16 and autocast, which training may have switched on, out of matrix products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
