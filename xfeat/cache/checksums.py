"""Checksums of what a shard holds: XXH3-64, which finds damage and is no protection against someone who means harm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

CHECK_ROWS = 1024


def row_checksums(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """One checksum for each 1,024 rows of an array (n, D)."""
    rows = np.ascontiguousarray(rows)
    sums = [xxhash.xxh3_64_intdigest(rows[i : i + CHECK_ROWS].data) for i in range(0, len(rows), CHECK_ROWS)]
    return np.array(sums, dtype=np.uint64)


def columns_checksum(arrays: Mapping[str, NDArray[Any]]) -> int:
    """One checksum for all columns, their names, shapes and types."""
    total = xxhash.xxh3_64()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.shape} {array.dtype.str}".encode())
        total.update(array.tobytes())
    return total.intdigest()


def damaged_rows(rows: NDArray[Any], checksums: NDArray[np.uint64]) -> tuple[int, int] | None:
    """First and last row of the first block of rows that differs from its checksum; None if there is none."""
    bad = np.flatnonzero(row_checksums(rows) != checksums)
    if not bad.size:
        return None
    first = int(bad[0]) * CHECK_ROWS
    return first, min(first + CHECK_ROWS, len(rows)) - 1


def summary(*checksums: NDArray[np.uint64], columns: int) -> bytes:
    """All checksums of a shard as bytes."""
    return b"".join(sums.astype("<u8").tobytes() for sums in checksums) + columns.to_bytes(8, "little")
