"""Token sequences of any length, end to end in one array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError


@dataclass(frozen=True)
class Tokens:
    """The token sequences of n samples. Construction checks the offsets.

    Attributes:
        values: (T, D) all tokens, sample after sample.
        offsets: (n + 1,) int64; sample i has the tokens from ``offsets[i]`` to ``offsets[i + 1]``.

    Raises:
        InputError: offsets that do not start at 0, ascend and end at T.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if problem := offsets_problem(self.offsets, len(self.values)):
            raise InputError(problem)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) the number of tokens of each sample."""
        return np.diff(self.offsets)

    def slice(self, start: int, stop: int) -> "Tokens":
        """The samples from ``start`` to ``stop``, as a view."""
        offsets = self.offsets[start : stop + 1]
        return Tokens(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def rows(self, keep: NDArray[Any]) -> "Tokens":
        """Some samples.

        Args:
            keep: (n,) bool, or numbers of samples, in any order and repeated if wanted.
        """
        rows = np.flatnonzero(keep) if keep.dtype == bool else keep
        lengths = self.lengths[rows]
        offsets = offsets_of(lengths)
        # Token t of the result lies as far behind its sample's first token as it does here.
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return Tokens(self.values[places], offsets)

    @staticmethod
    def concatenate(parts: Sequence["Tokens"]) -> "Tokens":
        """The samples of one part after those of another; at least one part, all of one width."""
        values = np.concatenate([part.values for part in parts])
        return Tokens(values, offsets_of(np.concatenate([part.lengths for part in parts])))


def offsets_of(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Lengths (n,) to offsets (n + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def offsets_problem(offsets: NDArray[Any], total: int) -> str:
    """Why offsets do not cut ``total`` tokens into sequences, in words; empty if they do."""
    if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
        return f"offsets are {offsets.shape} {offsets.dtype}: they are (samples + 1,) int64"
    if offsets[0] != 0 or offsets[-1] != total:
        return f"offsets run from {offsets[0]} to {offsets[-1]}: they run from 0 to the number of tokens, {total}"
    falls = np.flatnonzero(offsets[1:] < offsets[:-1])
    if not falls.size:
        return ""
    row = int(falls[0])
    return f"offsets fall from {offsets[row]} to {offsets[row + 1]} at sample {row}: they never fall"
