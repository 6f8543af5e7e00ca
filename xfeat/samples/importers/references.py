"""References to columns: an array of the imported file, or a column of another file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError
from xfeat.samples.importers.arrays import SUFFIXES, ArrayFile, open_arrays
from xfeat.samples.labels import SEPARATOR
from xfeat.samples.tables import read_table

_RUNS = re.compile(r"\s*([^\s:,]+)\s*:\s*([0-9]+)\s*")


class References:
    """Resolves references against one file and remembers which of its arrays were used.

    A reference is an array of the file (``labels``, ``X[0]``, ``data.view``, ``group/name``; of a table also ``f_*``),
    ``PATH#COLUMN`` of a text table (by name or number from 1) or of another file, or several of them with commas
    between, taken one after the other.

    Attributes:
        file: the imported file.
        used: names of its arrays that were asked for.
    """

    def __init__(self, file: ArrayFile) -> None:
        self.file = file
        self.used: set[str] = set()

    def column(self, option: str, reference: str, *, hot: int | None = None) -> NDArray[Any]:
        """One value per sample: (n,), or (n, C) for a matrix. (n, 1) and (1, n) are flattened.

        Args:
            option: its name, for messages.
            reference: what to read.
            hot: number of classes for which a uint8 matrix is multi-hot even if that makes it one row or column.

        Raises:
            InputError: something in it does not exist or cannot be read, or the parts do not fit together.
        """
        parts = [_flat(self._any(option, part), hot) for part in _parts(option, reference)]
        if len({part.dtype.kind in "US" for part in parts}) > 1 or len({part.shape[1:] for part in parts}) > 1:
            raise InputError(f"{option} {reference}: the parts differ in kind (text, numbers, matrix)")
        if any(part.ndim == 0 for part in parts):
            raise InputError(f"{option} {reference} is a single value, not a column")
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def arrays(self, option: str, reference: str) -> list[tuple[str, NDArray[Any]]]:
        """Each part of a reference to arrays, with its name, which holds no path.

        Raises:
            InputError: something in it does not exist or cannot be read.
        """
        found: list[tuple[str, NDArray[Any]]] = []
        for part in _parts(option, reference):
            several = self.file.parts(part) if self.file.parts is not None else []
            if several:
                self.used.add(part)
            found += several or [(Path(part).name, self._array(option, part))]
        return found

    def _array(self, option: str, reference: str) -> NDArray[Any]:
        if self.file.has(reference):
            self.used.update(self.file.covered(reference))
            return self.file.read(reference)
        path, mark, name = reference.rpartition("#")
        if mark and Path(path).suffix.lower() in SUFFIXES:
            return open_arrays(Path(path)).read(name)
        if not mark and Path(reference).suffix.lower() == ".npy":
            return open_arrays(Path(reference)).read("features")
        raise InputError(f"{self.file.path} has no array {reference!r} for {option}; it has: {self.file.listing()}")

    def _any(self, option: str, reference: str) -> NDArray[Any]:
        path, mark, name = reference.rpartition("#")
        if self.file.has(reference) or Path(path or reference).suffix.lower() in SUFFIXES:
            return self._array(option, reference)
        if mark:
            return np.array([_cell(value) for value in read_table(Path(path)).column(name)], dtype=np.str_)
        if Path(reference).is_file():
            table = read_table(Path(reference))
            raise InputError(f"{option} {reference}: name a column, {reference}#NAME, of {', '.join(table.columns)}")
        raise InputError(
            f"{option} {reference}: neither PATH#COLUMN nor an array of {self.file.path}, "
            f"which has: {self.file.listing()}"
        )


def read_runs(text: str) -> list[tuple[str, int]] | None:
    """Consecutive runs of rows, ``train:2173,test:693``; None if the text is something else.

    Example:
        >>> read_runs("train:2173,test:693")
        [('train', 2173), ('test', 693)]
    """
    runs = [_RUNS.fullmatch(part) for part in text.split(",")]
    return [(run[1], int(run[2])) for run in runs if run] if all(runs) else None


def strings(option: str, array: NDArray[Any]) -> list[str]:
    """A column as strings; whole numbers become their digits.

    Raises:
        InputError: a matrix, bytes that are not UTF-8, or numbers with fractions.
    """
    if array.ndim != 1:
        raise InputError(f"{option} has shape {array.shape}: it needs one value per sample")
    if array.dtype.kind == "U":
        return [str(text) for text in array.tolist()]
    if array.dtype.kind == "S":
        try:
            return [text.decode() for text in array.tolist()]
        except UnicodeDecodeError:
            raise InputError(f"{option} holds bytes that are not UTF-8") from None
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64) if array.dtype.kind in "iuf" else None
    if whole is None or not (whole == array).all():
        raise InputError(f"{option} is of type {array.dtype}: it needs strings or whole numbers")
    return [str(number) for number in whole.tolist()]


def _parts(option: str, reference: str) -> list[str]:
    parts = [part for word in reference.split(",") if (part := word.strip())]
    if not parts:
        raise InputError(f"{option} is empty")
    return parts


def _flat(array: NDArray[Any], hot: int | None) -> NDArray[Any]:
    if array.ndim != 2 or 1 not in array.shape or (array.dtype == np.uint8 and array.shape[1] == hot):
        return array
    return array.reshape(-1)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return SEPARATOR.join(map(str, value))
    return "" if value is None else str(value)
