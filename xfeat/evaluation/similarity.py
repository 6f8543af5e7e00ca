"""Similarities, block by block, with equal scores for equal gallery rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh3_64_intdigest

from xfeat.evaluation.parts import by_parts

Similarity: TypeAlias = Literal["cosine", "inner product"]

_ROWS_AT_ONCE = 512  # their numbers on the way stay in a cache


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
    if vectors.device.type == "cpu":
        given = vectors.float() if vectors.dtype == torch.bfloat16 else vectors
        _unit_rows(given.detach().numpy(), units.numpy())
        return units
    for source, target in zip(vectors.split(_ROWS_AT_ONCE), units.split(_ROWS_AT_ONCE), strict=True):
        rows = source.double()
        largest = rows.abs().amax(1, keepdim=True)
        rows = rows / largest.where(largest > 0, 1.0)
        rows /= rows.square().sum(1, keepdim=True).sqrt().clamp(min=1.0)  # a row that is not zero has length >= 1 here
        target.copy_(rows + 0.0)  # -0.0 becomes 0.0: equal rows are equal bytes
    return units


def _unit_rows(vectors: NDArray[Any], units: NDArray[Any]) -> None:
    """As `unit_rows`, into ``units``: threads that each have rows of their own need not wait for each other."""

    def scale(part: slice) -> None:
        rows = vectors[part].astype(np.float64)
        largest = abs(rows).max(1, keepdims=True)
        rows /= np.where(largest > 0, largest, 1.0)
        rows /= np.sqrt((rows * rows).sum(1, keepdims=True).clip(min=1.0))
        units[part] = rows + 0.0

    by_parts(scale, *vectors.shape)


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
    length = longest.sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    short = torch.empty(vectors.shape, dtype=dtype, device=vectors.device)
    for source, target in zip(vectors.split(_ROWS_AT_ONCE), short.split(_ROWS_AT_ONCE), strict=True):
        target.copy_(source.double() / scale / length + 0.0)  # one after the other: their product may overflow
    return short


class Scores:
    """Scores of query rows against a gallery.

    A matrix product may round the same gallery row differently in different columns (kernels treat the edges of a
    matrix apart), which would break ties between equal embeddings by noise. So each distinct gallery row counts once.

    Args:
        queries: (Q, d) rows of length 1 at most.
        gallery: (N, d) rows of length 1 at most, of the same dtype and on the same device.
    """

    def __init__(self, queries: Tensor, gallery: Tensor) -> None:
        self._queries, self._gallery = queries, gallery
        self._column = first_equals(gallery)
        if self._column is None:
            return
        repeated = self._column != torch.arange(len(gallery), device=gallery.device)
        self._copies = repeated.nonzero().flatten()
        self._originals = self._column[self._copies]
        if 2 * len(self._copies) > len(gallery):
            # Fewer products are worth a table of their own.
            kept = (~repeated).nonzero().flatten()
            self._gallery, self._column = gallery[kept], torch.searchsorted(kept, self._column)
            self._copies = self._copies[:0]

    def table(self, rows: int) -> Tensor:
        """Memory for the matrix product of so many queries."""
        return self._queries.new_empty(rows, len(self._gallery))

    def block(self, rows: slice, table: Tensor | None = None) -> Tensor:
        """(q, N) scores of these queries, in [-1, 1] up to rounding; a fresh tensor, or in a ``table`` of memory."""
        queries = self._queries[rows]
        with full_precision(self._queries.device.type):
            scores = torch.mm(queries, self._gallery.T, out=None if table is None else table[: len(queries)])
        if self._column is None:
            return scores
        if len(self._copies):
            return scores.index_copy_(1, self._copies, scores.index_select(1, self._originals))
        return scores.index_select(1, self._column)


def first_equals(rows: Tensor, digest: Callable[[Any], int] = xxh3_64_intdigest) -> Tensor | None:
    """For every row, the place of the first that is equal to it, byte by byte; None where all are distinct.

    Args:
        rows: (N, d).
        digest: of the bytes of a row, below 2**64; rows of one digest are compared.

    Returns:
        (N,) int64 on the device of the rows.
    """
    array = np.ascontiguousarray(rows.cpu().numpy()).view(np.uint8)
    digests = np.fromiter(map(digest, array), np.uint64, len(array))
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    if len(first) == len(array):
        return None
    column = first[inverse]
    suspects = np.flatnonzero(column != np.arange(len(array)))
    steps = (suspects[at : at + _ROWS_AT_ONCE] for at in range(0, len(suspects), _ROWS_AT_ONCE))
    if not all(np.array_equal(array[some], array[column[some]]) for some in steps):
        # Different rows of one digest: hardly ever.
        _, first, inverse = np.unique(array.view(f"V{array.shape[1]}").ravel(), return_index=True, return_inverse=True)
        if len(first) == len(array):
            return None
        column = first[inverse]
    return torch.from_numpy(column).to(rows.device)


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
