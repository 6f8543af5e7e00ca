"""Token sequences in the form they came in, turned into float32 piece by piece."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.cache.tokens import Tokens
from xfeat.errors import InputError
from xfeat.samples.importers.features import PIECE


class TokenRows:
    """The token sequences of n samples, seen as float32. A memory-mapped array stays on disk.

    Args:
        name: of the array, for messages.
        array: (T, D) tokens end to end, or (n, L, D) with padding; real numbers.
        offsets: (n + 1,) int64: where each sample's tokens begin and end.
        mask: (n, L) bool: which of the padded tokens are there; None beside tokens end to end.
    """

    def __init__(
        self, name: str, array: NDArray[Any], offsets: NDArray[np.int64], mask: NDArray[np.bool_] | None
    ) -> None:
        self.name = name
        self.offsets = offsets
        self._array, self._mask = array, mask

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """D, the width of a token."""
        return int(self._array.shape[-1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) the number of tokens of each sample."""
        return np.diff(self.offsets)

    def rows(self, start: int, stop: int) -> Tokens:
        """The samples from ``start`` to ``stop``, float32."""
        offsets = self.offsets[start : stop + 1]
        if self._mask is None:
            found = self._array[offsets[0] : offsets[-1]]
        else:
            found = self._array[start:stop][self._mask[start:stop]]
        with np.errstate(over="ignore"):  # found and explained by content()
            return Tokens(found.astype(np.float32), offsets - offsets[0])

    def means(self) -> NDArray[np.float32]:
        """The mean token of each sample, (n, D); every sample has one."""
        out = np.empty((len(self), self.dim), np.float32)
        for start, stop in self._pieces():
            tokens = self.rows(start, stop)
            with np.errstate(invalid="ignore"):
                sums = np.add.reduceat(tokens.values, tokens.offsets[:-1], axis=0, dtype=np.float64)
                out[start:stop] = sums / tokens.lengths[:, None]
        return out

    def content(self, ids: Sequence[str], dtype: str) -> str:
        """Check that all tokens are finite in ``dtype``, and digest them.

        Args:
            ids: (n,) for messages.
            dtype: ``float32`` or ``float16``.

        Returns:
            Sha256 over the offsets and the little-endian float32 bytes of all tokens.

        Raises:
            InputError: NaN, infinity, or a value too large; sample and token are named.
        """
        total = hashlib.sha256(self.offsets.astype("<i8").tobytes())
        for start, stop in self._pieces():
            tokens = self.rows(start, stop)
            with np.errstate(over="ignore"):
                bad = np.flatnonzero(~np.isfinite(tokens.values.astype(dtype, copy=False)).all(axis=1))
            if bad.size:
                row = int(np.searchsorted(tokens.offsets, bad[0], side="right")) - 1
                large = np.isfinite(tokens.values[bad[0]]).all()
                why = (
                    f"a value too large for {dtype}: use --dtype float32"
                    if large
                    else "NaN or infinity: mend or drop it"
                )
                place = int(bad[0] - tokens.offsets[row])
                raise InputError(f"token {place} of sample {start + row} (id {ids[start + row]!r}) holds {why}")
            total.update(tokens.values.astype("<f4", copy=False).data)
        return total.hexdigest()

    def check_lengths(self, ids: Sequence[str]) -> None:
        """Check that every sample has a token.

        Raises:
            InputError: one has none; it is named.
        """
        empty = np.flatnonzero(self.lengths == 0)
        if empty.size:
            row = int(empty[0])
            raise InputError(
                f"sample {row} (id {ids[row]!r}) has no tokens ({len(empty)} such samples): drop it, or give it one"
            )

    def _pieces(self) -> list[tuple[int, int]]:
        """Runs of samples with about ``PIECE`` numbers each."""
        limit = max(1, PIECE // self.dim)
        ends = [0]
        while ends[-1] < len(self):
            reach = int(np.searchsorted(self.offsets, self.offsets[ends[-1]] + limit, side="right")) - 1
            ends.append(max(ends[-1] + 1, min(reach, len(self))))
        return list(pairwise(ends))
