"""Rows of an array that lies in a file byte after byte: read where they lie, without going through HDF5."""

import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Place:
    """Where an array (n, D) lies.

    Attributes:
        path: the file.
        offset: of its first byte.
        shape: (n, D).
        dtype: of its values.
        stamp: what tells this file from one that has taken its place since.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stamp: Stamp

    @property
    def current(self) -> bool:
        """Whether the file is still the one that was looked at."""
        try:
            return stamp(self.path.stat()) == self.stamp
        except OSError:
            return False

    def open(self) -> FileIO:
        """The file, at the first byte of the array; the caller closes it.

        Raises:
            InputError: the file is gone, or another has taken its place.
        """
        try:
            file = FileIO(self.path, "rb")
        except OSError:
            raise self._replaced() from None
        if stamp(os.fstat(file.fileno())) != self.stamp:
            file.close()
            raise self._replaced()
        file.seek(self.offset)
        return file

    def rows(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows, in any order and repeated if wanted: (k, D), a copy. The file is closed again.

        Raises:
            InputError: the file is gone, or another has taken its place.
        """
        with self.open() as file:
            mapped = np.memmap(file, self.dtype, "r", self.offset, self.shape)
            picked: NDArray[Any] = np.take(mapped.view(np.ndarray), rows, axis=0)
        return picked

    def _replaced(self) -> InputError:
        return InputError(f"{self.path} was replaced or removed while it was read: try again")


def stamp(status: os.stat_result) -> Stamp:
    """What tells a file from one that takes its place: shards are replaced whole, never changed."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def fill(file: FileIO, out: NDArray[Any]) -> None:
    """Read an array from where the file stands.

    Args:
        file: as ``Place.open`` gives it.
        out: C-contiguous; its values are replaced.

    Raises:
        EOFError: the file ends too early.
    """
    view = out.data.cast("B")
    while view:
        got = file.readinto(view)
        if not got:
            raise EOFError(f"{file.name!r} ends too early")
        view = view[got:]
