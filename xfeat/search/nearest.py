"""The rows nearest to a query, whatever is asked with it: a fast pass finds candidates, an exact one ranks them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfeat.evaluation.similarity import Similarity, full_precision, unit_rows
from xfeat.evaluation.top import Top

MEMORY = 256 << 20  # bytes that the scores of a block of queries may take, and what is made of them
_BYTES_PER_SCORE = 12
_MOST_ROWS = 1024  # of a block: more make the matrix product no faster
_AT_ONCE = 4096  # rows in float64
_SAFE = 30  # binary digits of a length whose products stay far from the ends of float32


class Nearest:
    """Rows to be searched, made ready once.

    A float32 product of two rows depends, in its last digits, on how many rows are multiplied at the same time. So it
    only tells which rows may be among the k nearest: those whose score is not below the k-th by more than rounding can
    have done to both. With u = 2^-24 that is d u / (1 - d u) times the product of the lengths for each, whatever the
    order of summation (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, SIAM 2002, section 3.1).
    Candidates are ranked by their products in float64, summed in one order.

    Args:
        rows: (N, d) finite float32, N >= 1, not copied unless they are absurdly long or short; of length 1 (or zero)
            where they are compared by cosine, see `unit_rows`.
        similarity: ``cosine``, or ``inner product``.
    """

    def __init__(self, rows: Tensor, similarity: Similarity) -> None:
        self._rows, self._cosine = rows, similarity == "cosine"
        longest = max(float(piece.double().square().sum(1).max()) for piece in rows.split(_AT_ONCE)) ** 0.5
        self._digits = digits = math.frexp(longest)[1]
        self._fast = rows
        if abs(digits) > _SAFE:
            longest = math.ldexp(longest, -digits)
            self._fast = torch.cat([(piece.double() * 2.0**-digits).float() for piece in rows.split(_AT_ONCE)])
        step = rows.shape[1] * 2.0**-24
        # Queries have length 1 here. 2^-22: rounding of queries, thresholds and scores; the last: products that vanish.
        self._slack = 2 * ((step / (1 - step) + 2.0**-22) * longest + rows.shape[1] * 2.0**-118)

    def search(self, queries: Tensor, k: int, without: Tensor | None = None, memory: int = MEMORY) -> Top:
        """The k most similar rows of each query; equal scores in the order of the rows.

        Args:
            queries: (Q, d) finite float32 on the device of the rows.
            k: 1 or more; N where it is more than that.
            without: (Q,) int64, a row that is left out for each query, -1 for none.
            memory: bytes that a block of queries may take; it has one query at least.

        Returns:
            Places and scores (Q, k) on the device of the rows, best first: cosines, or inner products, each the float64
            product rounded to float32. Where a row that is left out leaves a place empty, -1 and -inf.
        """
        k = min(k, len(self._rows))
        items = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        step = max(1, min(_MOST_ROWS, memory // (_BYTES_PER_SCORE * len(self._rows))))
        for first in range(0, len(queries), step):
            block = queries[first : first + step]
            units = unit_rows(block)
            exact = (units if self._cosine else block).cpu().numpy().astype(np.float64)
            near = self._candidates(units, k, None if without is None else without[first : first + step])
            for row, (query, candidates) in enumerate(zip(exact, near, strict=True), first):
                places, values = self._ranked(query, candidates.nonzero().flatten(), k)
                items[row, : len(places)], scores[row, : len(places)] = places, values
        device = self._rows.device
        return Top(torch.from_numpy(items).to(device), torch.from_numpy(scores).to(device))

    @torch.no_grad()
    def _candidates(self, units: Tensor, k: int, without: Tensor | None) -> Tensor:
        """(q, N) bool: rows that may be among the k nearest."""
        with full_precision(units.device.type):
            scores = units @ self._fast.T
        if without is not None:
            some = (without >= 0).nonzero().flatten()
            scores[some, without[some]] = -torch.inf
        least = scores.topk(k, dim=1, sorted=True).values[:, -1:] - self._slack
        found: Tensor = (scores >= least) & (scores > -torch.inf)
        return found

    def _ranked(
        self, query: NDArray[np.float64], places: Tensor, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of some places, ascending, and their scores."""
        parts = [
            (self._rows[some].cpu().numpy().astype(np.float64) * query).sum(axis=1) for some in places.split(_AT_ONCE)
        ]
        with np.errstate(over="ignore"):
            products = np.concatenate(parts)
            scores = products.astype(np.float32)
        # Equal scores may be products that float32 has no numbers for: all infinite, or zero.
        digits = self._digits + math.frexp(math.sqrt((query * query).sum()))[1]
        within = (products * 2.0**-digits).astype(np.float32)
        best = np.lexsort((-within, -scores))[:k]
        return places.cpu().numpy()[best], scores[best] + np.float32(0)
