"""The one array of a .npy file, mapped into memory rather than read."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfeat.errors import InputError
from xfeat.samples.importers.arrays import ArrayFile

NAME = "features"
TABLE = ".rows.csv"
COLUMNS = {"id": "ids", "label": "labels", "split": "split", "pair": "pair", "camera": "camera"}


def open_npy(path: Path) -> ArrayFile:
    """Open a .npy; its array is called ``features``. Nothing is unpickled.

    A table ``NAME.rows.csv`` beside it, as `xfeat cache export` writes one, holds the other columns.

    Raises:
        InputError: (on reading) not a .npy, truncated, or holding Python objects.
    """

    def read(reference: str) -> NDArray[Any]:
        if reference != NAME:
            raise InputError(f"{path} holds one array, which is called {NAME!r}, not {reference!r}")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            if not _known(path):
                raise InputError(f"{path} is not a .npy file, or is damaged") from None
            raise explain(path, reference, error) from None
        if not isinstance(array, np.ndarray):  # a .npz under another name
            array.close()
            raise InputError(f"{path} is a .npz file: give it that name")
        return array

    usual = _table_beside(path)
    notes = (f"{', '.join(usual)} from {path.with_suffix(TABLE).name}",) if usual else ()
    return ArrayFile(path, "npy", {NAME: ""}, read, usual, notes)


def _table_beside(path: Path) -> dict[str, str]:
    table = path.with_suffix(TABLE)
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as lines:
        header = next(csv.reader(lines), [])
    return {field: f"{table}#{column}" for column, field in COLUMNS.items() if column in header}


def _known(path: Path) -> bool:
    """Whether a file begins like a .npy, a .npz or a pickle; numpy takes anything else for a pickle too."""
    with path.open("rb") as file:
        return file.read(1) in (b"\x93", b"P", b"\x80")


def explain(path: Path, name: str, error: Exception) -> InputError:
    """The error of reading an array, in one line."""
    words = str(error)
    if "pickle" in words or "Object arrays" in words or "Python objects" in words:
        return InputError(
            f"{path}: {name!r} holds Python objects (a pickle), which are never loaded: save plain numbers or strings"
        )
    first = words.splitlines()[0] if words else type(error).__name__
    return InputError(f"{path}: {name!r} cannot be read, the file is damaged or truncated ({first})")
