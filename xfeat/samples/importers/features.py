"""Features in the form they came in, turned into float32 rows piece by piece."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError

PIECE = 1 << 22  # numbers converted at a time


class Features:
    """Arrays on top of each other, seen as one (n, D) float32 array. Memory-mapped arrays stay on disk.

    Args:
        parts: name -> (n_i, D) real array.

    Raises:
        InputError: not two-dimensional, empty, complex or not numbers, or of different widths; the array is named.
    """

    def __init__(self, parts: Sequence[tuple[str, NDArray[Any]]]) -> None:
        for name, array in parts:
            _check(name, array)
        first, head = parts[0]
        for name, array in parts[1:]:
            if array.shape[1] != head.shape[1]:
                raise InputError(
                    f"--features: {first} has {head.shape[1]} columns and {name} has {array.shape[1]}: "
                    "parts of one modality have the same width"
                )
        self.names = list(dict.fromkeys(name for name, _ in parts))
        self._parts = [array for _, array in parts]
        self._ends = np.cumsum([len(array) for array in self._parts]).tolist()
        self.shape: tuple[int, int] = (self._ends[-1], head.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def kinds(self) -> str:
        """The dtypes as they are stored, for example ``uint8``."""
        return ", ".join(dict.fromkeys(str(array.dtype) for array in self._parts))

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` as (m, D) float32."""
        out = np.empty((min(stop, len(self)) - start, self.shape[1]), np.float32)
        begin = 0
        for array, end in zip(self._parts, self._ends, strict=True):
            low, high = max(start, begin), min(stop, end)
            if low < high:
                with np.errstate(over="ignore"):  # found and explained by content()
                    out[low - start : high - start] = array[low - begin : high - begin]
            begin = end
        return out

    def content(self, ids: Sequence[str], dtype: str) -> str:
        """Check that all features are finite in ``dtype``, and digest them.

        Args:
            ids: (n,) for messages.
            dtype: ``float32`` or ``float16``.

        Returns:
            Sha256 over the little-endian float32 bytes of all rows.

        Raises:
            InputError: NaN, infinity, or a value too large; row and id are named.
        """
        total = hashlib.sha256()
        step = max(1, PIECE // self.shape[1])
        for start in range(0, len(self), step):
            rows = self.rows(start, start + step)
            with np.errstate(over="ignore"):
                bad = np.argwhere(~np.isfinite(rows.astype(dtype, copy=False)))
            if bad.size:
                row, column = start + int(bad[0, 0]), int(bad[0, 1])
                value = self._value(row, column)
                large = np.isfinite(value)
                why = f", too large for {dtype}" if large else ""
                advice = "use --dtype float32" if large and dtype == "float16" else "mend or drop the row"
                raise InputError(
                    f"features of row {row} (id {ids[row]!r}) hold {value}{why} in column {column}: {advice}"
                )
            total.update(rows.astype("<f4", copy=False).data)
        return total.hexdigest()

    def _value(self, row: int, column: int) -> Any:
        begin = 0
        for array, end in zip(self._parts, self._ends, strict=True):
            if row < end:
                return array[row - begin, column]
            begin = end
        raise IndexError(row)


def _check(name: str, array: NDArray[Any]) -> None:
    shape = "x".join(map(str, array.shape)) or "a single value"
    if array.ndim != 2:
        raise InputError(f"--features {name} is {array.ndim}-dimensional ({shape}): features are samples x columns")
    if array.dtype.kind == "c":
        raise InputError(f"--features {name} is complex: take its real part or magnitude first")
    if array.dtype.kind not in "fiub":
        raise InputError(f"--features {name} is of type {array.dtype}: features are numbers")
    if not array.size:
        raise InputError(f"--features {name} is empty ({shape})")
