"""Strings of a shard: fixed-width UTF-8 to str."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLED, FEW = 32, 4
STRIDE = 104_729  # a prime: columns that repeat themselves are sampled all the same


def texts(column: NDArray[Any]) -> list[str]:
    """A column (n,) of fixed-width UTF-8 as strings.

    Where few values are met again and again (splits, statuses), equal strings are one object: no time, no memory.
    """
    if not len(column):
        return []
    values = set(column[np.arange(SAMPLED) * STRIDE % len(column)].tolist())
    if len(values) > FEW:
        return _each(column)
    found = np.empty(len(column), object)
    left = np.ones(len(column), dtype=bool)
    for value in values:
        hit = column == value
        found[hit] = value.decode()
        left &= ~hit
    if left.any():
        found[left] = np.array(_each(column[left]), dtype=object)
    strings: list[str] = found.tolist()
    return strings


def _each(column: NDArray[Any]) -> list[str]:
    return [text.decode() for text in column.tolist()]
