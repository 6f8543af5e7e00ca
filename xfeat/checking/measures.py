"""What one pass over a cache's features leaves behind: a key for each row, and the dimensions in numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Dimensions:
    """Dimensions over the rows that were looked at.

    Attributes:
        rows: how many.
        low: (D,) least values.
        high: (D,) greatest values.
        variance: (D,) float64.
        keys: (D,) equal where dimensions are equal in every row.
    """

    rows: int
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    variance: NDArray[np.float64]
    keys: list[int]


def row_keys(features: NDArray[Any]) -> NDArray[np.uint64]:
    """(n,) keys of (n, D) features: equal rows have equal keys, rows of zeros have 0. A zero's sign does not count."""
    rows = np.ascontiguousarray(features, np.float32) + np.float32(0)
    keys = np.fromiter((xxhash.xxh3_64_intdigest(row) for row in rows), np.uint64, len(rows))
    keys[~rows.any(axis=1)] = 0
    return keys


class Measuring:
    """Takes the rows of a cache part by part.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        self._rows = 0
        self._low, self._high = np.full(dim, np.inf, np.float32), np.full(dim, -np.inf, np.float32)
        self._mean, self._squares = np.zeros(dim), np.zeros(dim)
        self._columns = [xxhash.xxh3_64() for _ in range(dim)]

    def add(self, features: NDArray[Any]) -> None:
        """(m, D) more rows."""
        if not len(features):
            return
        part = np.ascontiguousarray(features, np.float32) + np.float32(0)
        np.minimum(self._low, part.min(axis=0), out=self._low)
        np.maximum(self._high, part.max(axis=0), out=self._high)
        # Chan, Golub and LeVeque 1983: moments of two parts joined, without cancellation.
        mean = part.mean(axis=0, dtype=np.float64)
        squares = np.square(part - mean).sum(axis=0)
        total = self._rows + len(part)
        apart = mean - self._mean
        self._squares += squares + apart**2 * (self._rows * len(part) / total)
        self._mean += apart * (len(part) / total)
        self._rows = total
        for column, values in zip(self._columns, np.ascontiguousarray(part.T), strict=True):
            column.update(values)

    def dimensions(self) -> Dimensions:
        """Of all rows so far."""
        keys = [column.intdigest() for column in self._columns]
        return Dimensions(self._rows, self._low, self._high, self._squares / max(1, self._rows), keys)
